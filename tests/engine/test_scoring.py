"""A prompt's tokens are as likely as they were when they were generated, however it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jaxserve.engine.request import Request, TokenLogprob
from jaxserve.engine.runner import Runner
from tests.engine.driver import Answer, Driver, make_request, make_runner
from tests.tiny_models import write_tiny_llama

PROMPTS = ([3, 1, 4, 1, 5], [9] * 21, list(range(2, 43)))
WANTED = 3


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = make_runner(write_tiny_llama(tmp_path_factory.mktemp("llama")))
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def generated(runner: Runner) -> list[Answer]:
    prompts = enumerate(PROMPTS)
    return [Driver(runner).run(make_request(f"g{i}", list(ids)))[0] for i, ids in prompts]


def scored(generated: list[Answer]) -> list[Request]:
    pairs = zip(PROMPTS, generated, strict=True)
    return [
        make_request(f"s{i}", [*ids, *answer.token_ids], prompt_logprobs=WANTED, max_tokens=2)
        for i, (ids, answer) in enumerate(pairs)
    ]


def assert_agree(answers: list[Answer], generated: list[Answer]) -> None:
    for answer, before, prompt in zip(answers, generated, PROMPTS, strict=True):
        assert len(answer.prompt_logprobs) == len(prompt) + len(before.token_ids) - 1
        ours = answer.prompt_logprobs[len(prompt) - 1 :]
        assert [entry.token_id for entry in ours] == before.token_ids
        np.testing.assert_allclose([e.logprob for e in ours], before.logprobs, atol=1e-4)
        assert [entry.rank for entry in ours] == [1] * len(ours)  # they were drawn greedily
        for entry in answer.prompt_logprobs:
            assert_ranked(entry)


def assert_ranked(entry: TokenLogprob) -> None:
    assert entry.rank is not None and len(entry.top) == WANTED
    assert list(entry.top) == sorted(entry.top, key=lambda pair: -pair[1])
    assert (entry.rank <= WANTED) == (entry.token_id in dict(entry.top))
    if entry.rank <= WANTED:
        assert entry.top[entry.rank - 1] == (entry.token_id, entry.logprob)


@pytest.mark.parametrize(
    "options", [{}, {"token_budget": 9, "max_batch_size": 4}, {"num_pages": 20}]
)
def test_scores_are_those_of_generation(
    runner: Runner, generated: list[Answer], options: dict[str, Any]
) -> None:
    assert_agree(Driver(runner, **options).run(*scored(generated)), generated)


def test_a_cached_prompt_is_scored_in_full(runner: Runner, generated: list[Answer]) -> None:
    driver = Driver(runner)
    driver.run(*scored(generated))
    again = [request for request in scored(generated)]
    assert_agree(driver.run(*again), generated)


def test_neighbours_are_not_scored_and_not_disturbed(
    runner: Runner, generated: list[Answer]
) -> None:
    plain = make_request("plain", list(PROMPTS[1]))
    *answers, beside = Driver(runner).run(*scored(generated), plain)
    assert_agree(answers, generated)
    assert beside.token_ids == generated[1].token_ids
    assert beside.prompt_logprobs == []
    assert runner.num_compiled_after_ready == 0
