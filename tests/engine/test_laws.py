"""The laws of the engine on the real programs: how it is scheduled never changes an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxserve.engine.request import FinishReason, Request
from jaxserve.engine.runner import Runner
from tests.engine.driver import EOS, LIMITS, Answer, Driver, assert_same, make_request, make_runner
from tests.fakes import FakeConstraint, History
from tests.tiny_models import write_tiny_llama

PARAMS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 5},
    {"temperature": 0.8, "top_p": 0.9, "seed": 2**63 + 1},
    {"temperature": 1.3, "top_k": 7, "seed": 3},
    {"temperature": 1.0, "min_p": 0.05, "seed": 4},
    {"repetition_penalty": 1.4, "presence_penalty": 0.3, "frequency_penalty": 0.2},
    {"temperature": 0.9, "frequency_penalty": 1.0, "seed": 11, "ignore_eos": True},
    {"logit_bias": ((7, 5.0), (9, -100.0)), "temperature": 1.0, "seed": 1},
    {"min_tokens": 10, "temperature": 1.0, "seed": 8},
]


def even_then_odd(output: History) -> set[int]:
    """Even tokens after odd ones and the other way about; ten of them at most, four at least."""
    if len(output) == 10:
        return {EOS}
    return {*range(len(output) % 2, EOS, 2)} | ({EOS} if len(output) >= 4 else set())


CONSTRAINED: list[dict[str, Any]] = [
    {},
    {"temperature": 1.2, "seed": 21},
    {"temperature": 0.9, "top_p": 0.8, "seed": 22, "min_tokens": 8},
    {"repetition_penalty": 1.5, "ignore_eos": True},
    {"temperature": 1.0, "seed": 23, "max_tokens": 3, "logit_bias": ((0, -100.0), (2, 4.0))},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def runner(folder: Path) -> Iterator[Runner]:
    runner = make_runner(folder)
    yield runner
    runner.close()


def prompt(length: int, seed: int = 0) -> list[int]:
    ids = np.random.default_rng(seed).integers(0, LIMITS.vocab_size - 1, length)
    return [int(i) for i in ids]


def requests() -> list[Request]:
    free = [
        make_request(f"r{index}", prompt(3 + 6 * index, index), **params)
        for index, params in enumerate(PARAMS)
    ]
    return free + [
        make_request(
            f"c{index}",
            prompt(5 + 4 * index, 30 + index),
            constraint=FakeConstraint(even_then_odd, eos=EOS),
            **params,
        )
        for index, params in enumerate(CONSTRAINED)
    ]


def alone(runner: Runner, **options: Any) -> list[Answer]:
    return [Driver(runner, **options).run(request)[0] for request in requests()]


@pytest.fixture(scope="module")
def answers(runner: Runner) -> list[Answer]:
    return alone(runner, prefix_cache=False)


def test_answers_differ_and_are_as_long_as_asked(answers: list[Answer]) -> None:
    assert len({tuple(a.token_ids) for a in answers}) == len(PARAMS) + len(CONSTRAINED)
    for answer in answers:
        assert len(answer.logprobs) == len(answer.token_ids)
        assert answer.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)


def test_constrained_answers_are_what_their_constraint_allows(answers: list[Answer]) -> None:
    for answer, params in zip(answers[len(PARAMS) :], CONSTRAINED, strict=True):
        drawn = [token_id for token_id in answer.token_ids if token_id != EOS]
        assert [token_id % 2 for token_id in drawn] == [i % 2 for i in range(len(drawn))]
        stopped = answer.finish_reason is FinishReason.STOP
        assert stopped == ("max_tokens" not in params)
        assert len(drawn) >= params.get("min_tokens", 4 if stopped else 3)
        assert len(drawn) == 10 or not params.get("ignore_eos")


def test_chunked_prefill_is_whole_prefill(runner: Runner, answers: list[Answer]) -> None:
    for budget in (9, 16):
        options = {"token_budget": budget, "max_batch_size": 4, "prefix_cache": False}
        assert_same(alone(runner, **options), answers)


def test_alone_is_in_a_batch(runner: Runner, answers: list[Answer]) -> None:
    assert_same(Driver(runner).run(*requests()), answers)


def test_a_step_ahead_is_step_by_step(runner: Runner, answers: list[Answer]) -> None:
    assert_same(Driver(runner, ahead=False).run(*requests()), answers)


def test_a_prefix_hit_is_a_miss(runner: Runner, answers: list[Answer]) -> None:
    driver = Driver(runner)
    driver.run(*requests())
    again = driver.run(*requests())
    assert sum(answer.num_cached_tokens for answer in again) > 100
    assert_same(again, answers)


def test_preempted_and_resumed_is_never_preempted(runner: Runner, answers: list[Answer]) -> None:
    driver = Driver(runner, num_pages=20, prefix_cache=False)
    assert_same(driver.run(*requests()), answers)
    assert driver.scheduler.stats().totals.preemptions > 0


def test_preempted_with_a_prefix_cache_is_never_preempted(
    runner: Runner, answers: list[Answer]
) -> None:
    driver = Driver(runner, num_pages=20)
    assert_same(driver.run(*requests()), answers)
    assert driver.scheduler.stats().totals.preemptions > 0


def test_top_k_one_is_greedy(runner: Runner) -> None:
    ids = prompt(20, 3)
    greedy, top_one = Driver(runner).run(
        make_request("a", ids), make_request("b", ids, temperature=1.5, top_k=1, seed=9)
    )
    assert greedy.token_ids == top_one.token_ids


def test_a_seed_gives_the_same_again_among_other_neighbours(runner: Runner) -> None:
    def seeded() -> Request:
        return make_request("s", prompt(10, 1), temperature=1.2, seed=1234)

    first = Driver(runner).run(seeded())[0]
    neighbours = [make_request(f"n{i}", prompt(5, 50 + i), temperature=1.0) for i in range(6)]
    crowded = Driver(runner).run(*neighbours, seeded())[-1]
    other = Driver(runner).run(make_request("o", prompt(10, 1), temperature=1.2, seed=1235))[0]
    assert first.token_ids == crowded.token_ids != other.token_ids


def test_min_tokens_holds_the_end_of_sequence_back(runner: Runner) -> None:
    bias = ((61, 100.0),)
    ids = prompt(6, 2)
    stopped, held = Driver(runner).run(
        make_request("a", ids, logit_bias=bias),
        make_request("b", ids, logit_bias=bias, min_tokens=4),
    )
    assert stopped.token_ids == [61]
    assert held.token_ids[4:] == [61]
    assert 61 not in held.token_ids[:4]


def test_ids_past_the_vocabulary_are_never_drawn(runner: Runner) -> None:
    many = [
        make_request(f"h{i}", prompt(4, i), temperature=2.0, seed=i, max_tokens=60)
        for i in range(16)
    ]
    for answer in Driver(runner).run(*many):
        assert max(answer.token_ids) < LIMITS.vocab_size


def test_nothing_compiles_after_ready(runner: Runner) -> None:
    Driver(runner, num_pages=20).run(*requests())
    assert runner.num_compiled_after_ready == 0
