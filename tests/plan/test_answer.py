"""What is planned for a CPU is what a runner takes; what does not fit is told with ways out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import make_model
from jaxserve.plan import answer as answering
from jaxserve.plan.answer import Answer, answer
from jaxserve.plan.hardware import Machine, this_cpu
from jaxserve.plan.programs import Program, TooLarge, device_bytes
from jaxserve.plan.question import Question
from jaxserve.plan.report import as_json, costs_per_million, lines
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import write_tiny_llama

FLOAT32 = jnp.dtype("float32")


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Question:
    return Question(
        folder=write_tiny_llama(tmp_path_factory.mktemp("planned") / "m"),
        dtype=FLOAT32,
        kv_dtype=FLOAT32,
        context=64,
        concurrency=4,
        token_budget=32,
        page_size=4,
        quantize=None,
    )


def on_cpu(usable_bytes: int, num_devices: int = 1, *, fast: bool = False) -> Machine:
    device = this_cpu(usable_bytes)
    if fast:
        device = replace(device, bandwidth=1e9, flops=1e12)
    return Machine("cpu", device, num_devices)


@pytest.fixture(scope="module")
def found(question: Question) -> Answer:
    return answer(question, on_cpu(50_000_000, fast=True))


def test_it_counts_what_a_runner_takes(question: Question, found: Answer) -> None:
    mesh = make_mesh(tensor_parallel=1)
    model = make_model(question.folder, dtype=FLOAT32, mesh=mesh, max_model_len=64)
    sizes = EngineSizes(
        page_size=4, num_pages=64, max_batch_size=4, token_budget=32, max_model_len=64
    )
    limits = EngineLimits(
        max_model_len=64,
        vocab_size=model.config.vocab_size,
        eos_token_ids=frozenset(),
        max_logprobs=20,
        max_queued_requests=1,
    )
    runner = Runner(
        model, attention=XlaAttention(), mesh=mesh, sizes=sizes, limits=limits, dtype=FLOAT32
    )
    assert found.weights_bytes == device_bytes(model.params)
    pages = 64 * 4 * found.kv_bytes_per_token
    assert found.other_bytes + pages == device_bytes(jax.tree.leaves(runner.state))
    program = runner.lower(runner.buckets.decode[-1]).compile().memory_analysis()
    assert program is not None
    assert found.programs[0].temp_bytes == program.temp_size_in_bytes
    assert found.programs[0].argument_bytes == program.argument_size_in_bytes


def test_it_fits_where_there_is_room(found: Answer) -> None:
    assert found.fits and found.changes == ()
    assert found.largest_concurrency >= found.concurrency
    assert found.needed_bytes <= found.usable_bytes


def test_devices_share_what_is_split(question: Question, found: Answer) -> None:
    halves = answer(question, on_cpu(50_000_000, num_devices=2))
    assert found.weights_bytes // 2 < halves.weights_bytes < found.weights_bytes
    assert halves.kv_bytes_per_token * 2 == found.kv_bytes_per_token


def test_what_does_not_fit_is_told_with_what_would(question: Question, found: Answer) -> None:
    short = found.weights_bytes + found.other_bytes + found.kv_bytes // 2
    tight = answer(question, on_cpu(short + max(p.extra_bytes for p in found.programs)))
    assert not tight.fits
    assert tight.changes[:2] == ("--concurrency 2", "--context 32")
    assert tight.largest_concurrency == 2
    eased = replace(question, concurrency=2)
    assert answer(eased, on_cpu(tight.usable_bytes)).fits


def test_weights_that_do_not_fit_compile_nothing(question: Question, found: Answer) -> None:
    small = answer(question, on_cpu(found.weights_bytes))
    assert small.refusal == "the weights alone do not fit" and small.programs == ()


def test_a_refused_pool_does_not_fit_and_its_temporaries_are_told(
    question: Question, found: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse_many(*parts: Any, num_pages: int) -> list[Program]:
        tried.append(num_pages)
        if len(tried) == 1:
            raise TooLarge("no room")
        return list(found.programs)

    monkeypatch.setattr(answering, "compile_largest", refuse_many)
    again = answer(question, on_cpu(found.usable_bytes))
    assert len(tried) == 2 and tried[0] > tried[1]
    assert again.programs == found.programs
    assert again.refusal == "no room" and not again.fits


def test_what_is_refused_with_the_fewest_pages_is_told(
    question: Question, found: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*parts: Any, num_pages: int) -> list[Program]:
        raise TooLarge("no room")

    monkeypatch.setattr(answering, "compile_largest", refuse)
    again = answer(question, on_cpu(found.usable_bytes))
    assert again.refusal == "no room" and again.programs == () and not again.fits


def test_it_is_told_in_words_and_as_json(found: Answer) -> None:
    text = "\n".join(lines(found, 3.6))
    assert "cpu (1 device): fits; 4 requests of 64 tokens" in text and "per million output" in text
    assert found.roofline is not None
    costs = costs_per_million(found, 3.6)
    assert costs["output"] == pytest.approx(1000 / found.roofline.decode)
    (entry,) = as_json([found], {"cpu": 3.6})
    assert entry["fits"] is True and entry["costs_per_million"] == costs
