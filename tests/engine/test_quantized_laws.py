"""The laws hold where weights, inputs and the KV cache are int8: all are rounded row by row."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import pytest

from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from tests.engine.driver import Answer, Driver, assert_same, make_request, make_runner
from tests.tiny_models import write_tiny_llama

SMALL = EngineSizes(page_size=4, num_pages=80, max_batch_size=4, token_budget=32, max_model_len=128)
ONE_STEP = 0.05  # a float's last bit may move what is rounded by a step, and a logprob by as much


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = write_tiny_llama(tmp_path_factory.mktemp("tiny"))
    runner = make_runner(folder, sizes=SMALL, quantize="int8", kv_dtype=jnp.dtype("int8"))
    yield runner
    runner.close()


def answers(runner: Runner, *, at_once: bool, again: bool = False, **options: int) -> list[Answer]:
    """To three requests, one by one or together; to the second asking if `again`."""
    sizes = {"num_pages": 80, "max_batch_size": 4, "token_budget": 32, **options}
    driver = Driver(runner, **sizes)  # type: ignore[arg-type]
    for _ in range(2 if again else 1):
        lots = [
            make_request(str(length), [(7 * length + i * i) % 60 for i in range(length)])
            for length in (3, 14, 50)
        ]
        answers = driver.run(*lots) if at_once else [driver.run(request)[0] for request in lots]
    return answers


@pytest.fixture(scope="module")
def expected(runner: Runner) -> list[Answer]:
    return answers(runner, at_once=False, prefix_cache=False)


def test_pages_are_bytes(runner: Runner) -> None:
    kinds = {str(pages.dtype) for pages in runner.state.cache.pages}
    assert kinds == {"int8"}


def test_chunked_prefill_is_whole_prefill(runner: Runner, expected: list[Answer]) -> None:
    assert_same(
        answers(runner, at_once=False, token_budget=5, prefix_cache=False), expected, atol=ONE_STEP
    )


def test_alone_is_in_a_batch(runner: Runner, expected: list[Answer]) -> None:
    assert_same(answers(runner, at_once=True), expected, atol=ONE_STEP)


def test_a_prefix_hit_is_a_miss(runner: Runner, expected: list[Answer]) -> None:
    again = answers(runner, at_once=True, again=True)
    assert sum(answer.num_cached_tokens for answer in again) > 40
    assert_same(again, expected, atol=ONE_STEP)


def test_preempted_and_resumed_is_never_preempted(runner: Runner, expected: list[Answer]) -> None:
    assert_same(answers(runner, at_once=True, num_pages=20), expected, atol=ONE_STEP)
