"""Lengths are drawn from what the command line says, and never below one."""

from __future__ import annotations

import random
import statistics

import pytest

from jaxserve.bench.lengths import Lengths
from jaxserve.errors import ConfigError


def draws(said: str, count: int = 2000) -> list[int]:
    source = random.Random(0)
    return [Lengths.parse(said).draw(source) for _ in range(count)]


@pytest.mark.parametrize("said", ["7", "fixed:7"])
def test_a_fixed_length_is_always_the_same(said: str) -> None:
    assert set(draws(said)) == {7}


def test_a_uniform_length_takes_every_number_between_its_ends() -> None:
    assert set(draws("uniform:3:6")) == {3, 4, 5, 6}


def test_a_normal_length_has_its_mean_and_deviation() -> None:
    drawn = draws("normal:500:50")
    assert statistics.mean(drawn) == pytest.approx(500, abs=5)
    assert statistics.stdev(drawn) == pytest.approx(50, abs=5)


def test_no_length_is_below_one() -> None:
    assert min(draws("normal:2:50")) == 1


@pytest.mark.parametrize("said", ["", "x", "uniform:3", "uniform:6:3", "0", "zipf:1:2", "1:2"])
def test_what_is_no_distribution_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match=r"distribution|begin at 1"):
        Lengths.parse(said)
