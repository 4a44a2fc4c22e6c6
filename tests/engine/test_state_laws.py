"""How a request is scheduled never changes what layers with a state answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxserve.engine.request import Request
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from tests.engine.driver import Answer, assert_same, make_request, make_runner
from tests.engine.driver import Driver as AnyDriver
from tests.models.hybrid_variants import HYBRID_VARIANTS

SIZES = EngineSizes(page_size=4, num_pages=96, max_batch_size=3, token_budget=32, max_model_len=128)
BROKEN = 50  # a token whose embedding is no number
Driver = partial(AnyDriver, num_pages=96, max_batch_size=3, token_budget=32, prefix_cache=False)


def write_hybrid(folder: Path, name: str) -> Path:
    """A folder with a vocabulary as large as the driver's."""
    variant = HYBRID_VARIANTS[name]
    replace(variant, overrides={**variant.overrides, "vocab_size": 64}).save(folder)
    path = folder / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    weights["model.embed_tokens.weight"][BROKEN] = np.nan
    safetensors.numpy.save_file(weights, path)
    return folder


@pytest.fixture(scope="module", params=["lfm2-untied-biases", "qwen3-5"])
def runner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    folder = write_hybrid(tmp_path_factory.mktemp("hybrid"), str(request.param))
    # Answers are compared with one another, and no program runs for long.
    jax.config.update("jax_disable_most_optimizations", True)
    runner = make_runner(folder, sizes=SIZES)
    jax.config.update("jax_disable_most_optimizations", False)
    yield runner
    runner.close()


def ask(name: str, length: int, **params: Any) -> Request:
    ids = np.random.default_rng(length).integers(0, BROKEN, length)
    return make_request(
        name, [int(i) for i in ids], logit_bias=((BROKEN, -100.0),), ignore_eos=True, **params
    )


def requests() -> list[Request]:
    return [
        ask("short", 3),
        ask("long", 30, temperature=1.0, seed=5),
        ask("one", 1),
        ask("even", 16, temperature=0.8, seed=7, max_tokens=20),
        ask("odd", 23, max_tokens=5),
    ]


@pytest.fixture(scope="module")
def answers(runner: Runner) -> list[Answer]:
    return [Driver(runner, ahead=False).run(request)[0] for request in requests()]


def test_answers_differ(answers: list[Answer]) -> None:
    assert len({tuple(answer.token_ids) for answer in answers}) == len(answers)


@pytest.mark.parametrize("token_budget", [3, 9])
def test_chunked_prefill_is_whole_prefill(
    runner: Runner, answers: list[Answer], token_budget: int
) -> None:
    assert_same(Driver(runner, token_budget=token_budget).run(*requests()), answers)


def test_alone_is_in_a_batch_a_step_ahead(runner: Runner, answers: list[Answer]) -> None:
    assert_same(Driver(runner).run(*requests()), answers)


def test_preempted_and_resumed_is_never_preempted(runner: Runner, answers: list[Answer]) -> None:
    driver = Driver(runner, num_pages=13)
    assert_same(driver.run(*requests()), answers)
    assert driver.scheduler.stats().totals.preemptions > 0


def test_a_slot_passes_nothing_on_to_its_next_owner(runner: Runner, answers: list[Answer]) -> None:
    """Not even numbers that are none: a masked one is one still."""
    owners = [
        owner
        for request in requests()
        for owner in (make_request(f"{request.id}-before", [1, BROKEN, 3]), request)
    ]
    given = Driver(runner, max_batch_size=1).run(*owners)
    assert all(answer.error for answer in given[::2])
    assert_same(given[1::2], answers)


def test_one_whose_numbers_break_breaks_no_neighbour(runner: Runner, answers: list[Answer]) -> None:
    broken = make_request("broken", [1, BROKEN, 3], max_tokens=4)
    good = [ask("long", 30, temperature=1.0, seed=5), ask("short", 3)]
    before, bad, after = Driver(runner).run(good[0], broken, good[1])
    assert bad.error and "not finite" in bad.error
    assert_same([before, after], [answers[1], answers[0]])


def test_samples_of_one_prompt_are_each_their_own(runner: Runner) -> None:
    samples = [ask(f"s{i}", 17, temperature=1.0, seed=i) for i in range(3)]
    together = Driver(runner).run(*samples)
    for index, answer in enumerate(together):
        alone = Driver(runner).run(ask("alone", 17, temperature=1.0, seed=index))
        assert_same([answer], alone)
    assert len({tuple(answer.token_ids) for answer in together}) == 3


def test_nothing_compiles_after_ready(runner: Runner) -> None:
    Driver(runner, num_pages=13).run(*requests())
    assert runner.num_compiled_after_ready == 0
