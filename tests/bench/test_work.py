"""The least work of a step is what the model's shapes say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from jaxserve.bench.work import WorkCounter
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.step import Row, Step
from jaxserve.models.loading import LoadedModel, make_model
from jaxserve.sharding.mesh import make_mesh

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
ATTENTION, MLP, HEAD = 2 * 32 * 32 + 2 * 16 * 32, 3 * 32 * 48, 96 * 32  # weights of each
NORMS = (2 * 2 + 1) * 32
KV_BYTES = 100


def model(tmp_path: Path, quantize: Any = None, **changes: Any) -> LoadedModel:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    return make_model(
        tmp_path, dtype=jnp.dtype("float32"), mesh=make_mesh(tensor_parallel=1), quantize=quantize
    )


def step(*rows: tuple[int, int]) -> Step:
    """A step of rows (start, number of tokens) that all draw."""
    params = SamplingParams(max_tokens=1)
    made = []
    for slot, (start, count) in enumerate(rows):
        request = Request(id=str(slot), prompt_ids=(1,) * (start + count), params=params)
        made.append(Row(request, slot, start, count, samples=True, takes_slot=False))
    return Step(tuple(made))


def test_a_decode_step_reads_every_weight_once_and_the_keys_of_each_row(tmp_path: Path) -> None:
    work = WorkCounter(model(tmp_path), kv_bytes_per_token=KV_BYTES).of(step((9, 1), (19, 1)))
    weights = 2 * (ATTENTION + MLP) + HEAD
    assert work.num_bytes == 4 * (weights + NORMS) + KV_BYTES * (10 + 20)
    pairs = 2 * 2 * 4 * (8 + 8)  # layers, a product and a sum of 8 numbers for each of 4 heads
    assert work.flops == 2 * 2 * weights + pairs * (10 + 20)


def test_a_prompt_sees_itself_as_a_triangle_and_draws_once(tmp_path: Path) -> None:
    work = WorkCounter(model(tmp_path), kv_bytes_per_token=KV_BYTES).of(step((5, 4)))
    layers = 2 * (ATTENTION + MLP)
    assert work.flops == 2 * 4 * layers + 2 * HEAD + 256 * (6 + 7 + 8 + 9)
    assert work.num_bytes == 4 * (layers + HEAD + NORMS) + KV_BYTES * 9


def test_a_tied_embedding_is_read_as_the_output(tmp_path: Path) -> None:
    tied = model(tmp_path, tie_word_embeddings=True)
    work = WorkCounter(tied, kv_bytes_per_token=0).of(step((0, 1)))
    assert work.num_bytes == 4 * (2 * (ATTENTION + MLP) + HEAD + NORMS)


def test_quantised_weights_are_fewer_bytes_and_as_many_operations(tmp_path: Path) -> None:
    floats = WorkCounter(model(tmp_path), kv_bytes_per_token=0).of(step((0, 1)))
    work = WorkCounter(model(tmp_path, "int8"), kv_bytes_per_token=0).of(step((0, 1)))
    assert work.flops == floats.flops
    assert work.num_bytes < 0.5 * floats.num_bytes


def test_experts_are_read_as_far_as_tokens_are_routed_to_them(tmp_path: Path) -> None:
    changes = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
    mixture = model(tmp_path, **changes, **experts)
    counter = WorkCounter(mixture, kv_bytes_per_token=0)
    one, many = counter.of(step((0, 1))), counter.of(step(*[(0, 1)] * 64))
    router = 2 * 4 * 32
    rest = 2 * ATTENTION + HEAD + router
    assert one.flops == 2 * (rest + 2 * 2 * MLP) + 256
    assert one.num_bytes == pytest.approx(4 * (rest + NORMS + 2 * 2 * MLP))
    assert many.num_bytes == pytest.approx(4 * (rest + NORMS + 2 * 4 * MLP))
