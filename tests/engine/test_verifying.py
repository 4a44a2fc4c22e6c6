"""Drafts on the real programs: the same tokens, log-probabilities and distribution as without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.stats
import numpy as np
import pytest

from jaxserve.engine.request import Request
from jaxserve.engine.runner import Runner
from jaxserve.engine.verifying import drafts_until, reached
from tests.engine.driver import EOS, SIZES, Answer, Driver, assert_same, make_request, make_runner
from tests.fakes import FakeConstraint
from tests.tiny_models import write_tiny_llama

FEW = frozenset({3, 4, 5})  # so that guesses hit though tokens are drawn at random
PARAMS: list[dict[str, Any]] = [
    {"max_tokens": 40},
    {"max_tokens": 40, "ignore_eos": True, "logprobs": 3},
    {"allowed_token_ids": FEW, "temperature": 1.0, "seed": 5},
    {"allowed_token_ids": FEW, "temperature": 0.7, "top_p": 0.9, "seed": 2**63 + 1},
    {"allowed_token_ids": FEW, "temperature": 1.0, "seed": 3, "repetition_penalty": 1.3},
    {"allowed_token_ids": FEW, "frequency_penalty": 0.8, "presence_penalty": 0.4},
    {"allowed_token_ids": FEW | {EOS}, "temperature": 1.0, "seed": 8, "min_tokens": 12},
    {"allowed_token_ids": FEW, "temperature": 1.0, "seed": 9, "stop_token_ids": frozenset({5})},
    {"temperature": 1.0, "seed": 4, "logprobs": None},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def runner(folder: Path) -> Iterator[Runner]:
    # Answers are compared with one another, and no program runs for long.
    jax.config.update("jax_disable_most_optimizations", True)
    runner = make_runner(folder, sizes=replace(SIZES, num_draft_tokens=3))
    jax.config.update("jax_disable_most_optimizations", False)
    yield runner
    runner.close()


def prompt(length: int, seed: int) -> list[int]:
    ids = np.random.default_rng(seed).integers(0, EOS, length)
    return [int(i) for i in ids] * 2


def requests() -> list[Request]:
    free = [
        make_request(f"r{index}", prompt(3 + 2 * index, index), **{"max_tokens": 25, **params})
        for index, params in enumerate(PARAMS)
    ]
    constraint = FakeConstraint(lambda output: {len(output) % 2, EOS}, eos=EOS)
    return [*free, make_request("c", prompt(4, 30), constraint=constraint, ignore_eos=True)]


@pytest.fixture(scope="module")
def answers(runner: Runner) -> list[Answer]:
    return [Driver(runner, prefix_cache=False).run(request)[0] for request in requests()]


@pytest.mark.parametrize(
    "options",
    [{}, {"max_batch_size": 1}, {"max_batch_size": 3, "token_budget": 9}, {"num_pages": 30}],
    ids=["together", "alone", "chunked", "preempted"],
)
def test_drafts_change_nothing(
    runner: Runner, answers: list[Answer], options: dict[str, Any]
) -> None:
    driver = Driver(runner, num_draft_tokens=3, **options)
    assert_same(driver.run(*requests()), answers)
    totals = driver.scheduler.stats().totals
    assert 20 < totals.accepted_tokens < totals.draft_tokens
    assert bool(totals.preemptions) == ("num_pages" in options)


def test_drafts_after_a_prefix_hit_change_nothing(runner: Runner, answers: list[Answer]) -> None:
    driver = Driver(runner, num_draft_tokens=3)
    driver.run(*requests())
    again = driver.run(*requests())
    assert sum(answer.num_cached_tokens for answer in again) > 60
    assert_same(again, answers)


def test_the_pages_of_an_answer_with_drafts_are_found_by_its_next_turn(runner: Runner) -> None:
    driver, ids = Driver(runner, num_draft_tokens=3), prompt(8, 1)
    first = driver.run(make_request("a", ids, max_tokens=21, allowed_token_ids=FEW))[0]
    assert driver.scheduler.stats().totals.accepted_tokens > 5
    turn = [*ids, *first.token_ids, 7]
    second = driver.run(make_request("b", turn))[0]
    computed = len(ids) + len(first.token_ids) - 1
    assert second.num_cached_tokens == computed // SIZES.page_size * SIZES.page_size
    assert_same([second], Driver(runner, prefix_cache=False).run(make_request("c", turn)))


def test_what_is_drawn_with_drafts_is_distributed_as_without(runner: Runner) -> None:
    """The chi-square of three tokens from three, in 1,500 sequences each way."""
    params: dict[str, Any] = {"allowed_token_ids": FEW, "temperature": 1.0, "logprobs": None}
    outcomes: list[Counter[tuple[int, ...]]] = []
    for num_draft_tokens in (0, 3):
        driver = Driver(runner, num_draft_tokens=num_draft_tokens)
        counted: Counter[tuple[int, ...]] = Counter()
        first = 10_000 * num_draft_tokens
        for seeds in np.arange(first, first + 1504).reshape(-1, SIZES.max_batch_size).tolist():
            asked = [
                make_request(str(seed), [3, 4, 5, 3], seed=seed, max_tokens=4, **params)
                for seed in seeds
            ]
            counted.update(tuple(answer.token_ids[1:]) for answer in driver.run(*asked))
        outcomes.append(counted)
    assert driver.scheduler.stats().totals.accepted_tokens > 300
    kinds = sorted(outcomes[0].keys() | outcomes[1].keys())
    table = np.array([[outcome[kind] for kind in kinds] for outcome in outcomes])
    table = table[:, table.sum(0) >= 10]
    assert table.shape[1] > 8
    expected = table.sum(0) / 2
    statistic = float(((table - expected) ** 2 / expected).sum())
    assert jax.scipy.stats.chi2.sf(statistic, table.shape[1] - 1) > 0.01


def test_nothing_compiles_after_ready(runner: Runner) -> None:
    before = runner.num_compiled_after_ready  # by tests, which count too
    Driver(runner, num_draft_tokens=3).run(*requests())
    assert runner.num_compiled_after_ready == before


def test_drafts_are_told_from_the_tokens_that_are_known() -> None:
    """Rows of three tokens, of one and of two: the first of each is known."""
    tokens, bounds = jnp.array([7, 8, 9, 5, 6, 4]), jnp.array([0, 3, 4, 6])
    assert drafts_until(tokens, bounds, 2).tolist() == [
        [-1, -1],
        [8, -1],
        [9, 8],
        [-1, -1],
        [-1, -1],
        [4, -1],
    ]


def test_draws_after_a_wrong_draft_are_not_reached() -> None:
    tokens, bounds = jnp.array([7, 8, 9, 5, 6, 4]), jnp.array([0, 3, 4, 6])
    finite = jnp.ones(6, bool)
    drawn = jnp.array([8, 1, 1, 6, 4, 1])
    assert reached(tokens, bounds, drawn, finite).tolist() == [1, 1, 0, 1, 1, 1]
    drawn = jnp.array([1, 9, 1, 6, 1, 1])
    assert reached(tokens, bounds, drawn, finite).tolist() == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    drawn, finite = jnp.array([8, 9, 1, 6, 4, 1]), finite.at[4].set(False)
    assert reached(tokens, bounds, drawn, finite).tolist() == [1, 1, 1, 1, 1, 0]
