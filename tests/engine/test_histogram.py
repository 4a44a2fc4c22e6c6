"""What is counted between fixed bounds can be read at any of them."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxserve.engine.histogram import (
    FIRST_TOKEN_S,
    GEOMETRIC_S,
    PER_TOKEN_S,
    REQUEST_S,
    SECONDS,
    Histogram,
    hundred_steps,
    one_two_five,
    token_bounds,
)


def filled(*values: float, bounds: tuple[float, ...] = (1.0, 2.0, 5.0)) -> Histogram:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    return histogram


def test_a_value_on_a_bound_is_at_most_it() -> None:
    assert filled(1.0, 1.5, 2.0, 9.0).at_most((1.0, 2.0, 5.0)) == [1, 3, 3]


def test_count_and_sum_have_what_is_above_all_bounds_too() -> None:
    histogram = filled(0.5, 100.0)
    assert (histogram.count, histogram.sum) == (2, 100.5)


def test_a_bound_that_was_not_told_apart_is_refused() -> None:
    with pytest.raises(AssertionError, match="not told apart"):
        filled(1.0).at_most((3.0,))


def test_a_copy_does_not_follow() -> None:
    histogram = filled(1.0)
    copy = histogram.copy()
    histogram.observe(2.0)
    assert (copy.count, copy.sum, copy.bounds) == (1, 1.0, histogram.bounds)


@given(st.lists(st.floats(0, 10_000)))
def test_every_series_of_seconds_is_exact(values: list[float]) -> None:
    histogram = filled(*values, bounds=SECONDS)
    for series in (FIRST_TOKEN_S, PER_TOKEN_S, REQUEST_S, GEOMETRIC_S):
        assert histogram.at_most(series) == [
            bisect.bisect_right(sorted(values), bound) for bound in series
        ]


def test_one_two_five_ends_at_the_most() -> None:
    assert one_two_five(64) == (1, 2, 5, 10, 20, 50)
    assert one_two_five(100)[-1] == 100
    assert one_two_five(1) == (1,)


@pytest.mark.parametrize("most", [1, 7, 2048, 131_072])
def test_token_bounds_hold_both_series_in_order(most: int) -> None:
    bounds = token_bounds(most)
    assert list(bounds) == sorted(set(bounds))
    assert {*one_two_five(most), *hundred_steps(most)} == set(bounds)
    assert hundred_steps(most)[-1] == most
