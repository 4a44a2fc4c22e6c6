"""Work that takes too long is struck; work that has ended is not."""

from __future__ import annotations

import itertools
import threading

import pytest

from jaxserve.text.deadline import Deadline, OutOfTime


def test_endless_work_is_struck() -> None:
    deadline = Deadline()
    timer = threading.Timer(0.05, deadline.strike)
    timer.start()
    with pytest.raises(OutOfTime):
        deadline.run(lambda: sum(0 for _ in itertools.count()))
    timer.join()


def test_work_that_ends_is_left_alone() -> None:
    deadline = Deadline()
    assert deadline.run(lambda: 5) == 5
    deadline.strike()
    assert sum(range(100_000)) == 4999950000
