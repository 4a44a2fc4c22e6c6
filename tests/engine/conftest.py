"""Engines that are checked again after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.engine.fake_driver import Driver


@pytest.fixture
def new_driver() -> Iterator[Callable[..., Driver]]:
    """Make drivers whose books must add up when the test is over."""
    made: list[Driver] = []

    def make(**sizes: object) -> Driver:
        made.append(Driver(**sizes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for driver in made:
        driver.scheduler.check()
        if not driver.scheduler.num_unfinished:
            assert driver.pool.num_used == 0, "pages are held although no request is left"
