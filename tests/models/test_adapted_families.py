"""An adapter of everything that it can change is the merged model, whatever the family fuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxserve.models.adapters import Room, Tables, adapt, tables_of
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.decoder import Decoder
from jaxserve.models.loading import LoadedModel, adapter_modules, load_model
from jaxserve.models.peft import read_adapter
from jaxserve.sharding.mesh import make_mesh
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees
from tests.peft_folders import write_adapter, write_merged

ROOM = Room(num_adapters=2, max_rank=4)
FLOAT32 = jnp.dtype("float32")
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
# What each leaves to be seen: modules that the adapter must have been able to change.
CHANGED = {
    "phi3": ("qkv_proj", "gate_up_proj", "o_proj"),
    "gpt-neox": ("query_key_value", "dense_h_to_4h"),
    "deepseek-v2": ("q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "shared_experts.up_proj"),
    "deepseek-v3-one-group": ("q_proj", "kv_b_proj"),
    "qwen3-next": ("in_proj_qkvz", "in_proj_ba", "linear_attn.out_proj", "shared_expert_gate"),
    "lfm2": ("conv.in_proj", "feed_forward.w1"),
    "gemma4": ("per_layer_input_gate",),
}


@dataclass
class Adapted:
    """A model all of whose tokens have the adapter in the second place."""

    base: LoadedModel
    tables: Tables

    @property
    def config(self) -> object:
        return self.base.config

    @property
    def params(self) -> tuple[jax.Array, ...]:
        return self.base.params

    def merge(self, params: tuple[jax.Array, ...]) -> Decoder:
        model = self.base.merge(params)
        adapt(model, self.tables, ROOM, jnp.asarray([2]))
        return model


@pytest.mark.parametrize("name", CHANGED)
def test_adapted_is_merged(name: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder, mesh = saved(name), make_mesh(tensor_parallel=1)
    base = load_model(folder, dtype=FLOAT32, mesh=mesh)
    modules = adapter_modules(folder, base)
    stored = safetensors.numpy.load_file(folder / "model.safetensors")
    names = tuple(module for module in modules if f"{module}.weight" in stored)
    for suffix in CHANGED[name]:
        assert any(module.endswith(suffix) for module in names), suffix
    adapter = write_adapter(tmp_path / "a", folder, rank=4, alpha=2.0, targets=names)
    weights = {1: read_adapter(adapter, modules, max_rank=4)}
    tables = tables_of(base.merge(base.params), weights, ROOM, dtype=FLOAT32, mesh=mesh)
    merged = load_model(
        write_merged(tmp_path / "merged", folder, adapter, scale=0.5), dtype=FLOAT32, mesh=mesh
    )
    ours, expected, plain = (logits(model) for model in (Adapted(base, tables), merged, base))
    assert_agrees(ours, expected)
    assert np.abs(ours - plain).max() > 0.01


def logits(model: object) -> np.ndarray:
    run = PagedRun(model, XlaAttention(), make_mesh(tensor_parallel=1), rows=1)  # type: ignore[arg-type]
    prompt = run.step([PROMPT[:-1]])[0]
    return np.concatenate([prompt, run.step([PROMPT[-1:]])[0]])
