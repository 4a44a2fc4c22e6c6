"""The sum of prompt tokens follows what comes and goes."""

from __future__ import annotations

import pytest

from jaxserve.engine.backlog import Backlog
from tests.engine.fake_driver import request


def test_the_sum_follows_what_comes_and_goes() -> None:
    backlog = Backlog()
    backlog.add(request("a", [1] * 3))
    backlog.add(request("b", [1] * 5))
    assert (len(backlog), backlog.num_prompt_tokens) == (2, 8)
    backlog.remove(["a", "unknown", "a"])
    assert ("a" in backlog, "b" in backlog, backlog.num_prompt_tokens) == (False, True, 5)
    backlog.clear()
    assert (len(backlog), backlog.num_prompt_tokens) == (0, 0)


def test_an_id_is_added_once() -> None:
    backlog = Backlog()
    backlog.add(request("a", [1]))
    with pytest.raises(AssertionError, match="there already"):
        backlog.add(request("a", [1]))
