"""The same answers from one device, two and four: the laws of a sharded engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxserve.engine.sizes import EngineSizes
from tests.engine.driver import EOS, Answer, Driver, make_request, make_runner
from tests.fakes import FakeConstraint
from tests.models.variants import VARIANTS
from tests.tiny_models import write_tiny_llama

SMALL = EngineSizes(
    page_size=4, num_pages=160, max_batch_size=2, token_budget=16, max_model_len=128
)


def answers_of(
    folder: Path, tensor_parallel: int, expert_parallel: int = 1, *, num_draft_tokens: int = 0
) -> list[Answer]:
    runner = make_runner(
        folder,
        tensor_parallel=tensor_parallel,
        expert_parallel=expert_parallel,
        sizes=replace(SMALL, num_draft_tokens=num_draft_tokens),
    )
    # Step by step: virtual devices on few cores deadlock when dispatches pile up.
    driver = Driver(
        runner,
        max_batch_size=2,
        token_budget=16,
        ahead=False,
        num_draft_tokens=num_draft_tokens,
    )
    answers = driver.run(
        make_request("greedy", [1, 5, 9, 13]),
        make_request("long", [7 * i % 60 for i in range(40)]),
        make_request("seeded", [4, 4, 8], temperature=1.0, seed=6, top_p=0.9),
        make_request("held", [2, 8], constraint=FakeConstraint(lambda o: {len(o), 40}, eos=EOS)),
        make_request("counted", [4, 9, 8], repetition_penalty=1.5, logit_bias=((3, 2.0),)),
    )
    runner.close()
    assert bool(driver.scheduler.stats().totals.accepted_tokens) == bool(num_draft_tokens)
    return answers


def test_tensor_parallel_is_one_device(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "llama")
    expected = answers_of(folder, 1)
    for tensor_parallel, num_draft_tokens in ((2, 2), (4, 0)):
        answers = answers_of(folder, tensor_parallel, num_draft_tokens=num_draft_tokens)
        for left, right in zip(answers, expected, strict=True):
            assert left.token_ids == right.token_ids
            np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


def test_kv_heads_that_do_not_divide_are_replicated(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "llama", num_key_value_heads=1)
    one, two = answers_of(folder, 1), answers_of(folder, 2)
    assert [a.token_ids for a in one] == [a.token_ids for a in two]


def test_expert_parallel_is_one_device(tmp_path: Path) -> None:
    tiny = VARIANTS["mixtral"]
    replace(tiny, overrides={**tiny.overrides, "vocab_size": 64}).save(tmp_path)
    one, four = answers_of(tmp_path, 1), answers_of(tmp_path, 1, expert_parallel=4)
    for left, right in zip(four, one, strict=True):
        assert left.token_ids == right.token_ids
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)
