"""The GPU backend's own: what it refuses, and how a row's KV is split."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import pytest

from jaxserve.models.attention.gpu import GpuAttention
from jaxserve.models.attention.split_attention import TileShape
from jaxserve.sharding.mesh import make_mesh
from tests.models.attention.conformance import Case

BFLOAT16 = jnp.dtype("bfloat16")
CASE = Case(rows=((5, 1), (70, 1)), num_tokens=2, num_rows=2, num_kv_heads=2, group=2, sinks=True)
SHAPE = TileShape(
    num_blocks=1,
    queries=1,
    num_kv_heads=8,
    group=4,
    head_dim=128,
    dtype=BFLOAT16,
    page_size=128,
    pages_per_seq=256,
    scale=1.0,
    softcap=None,
    window=None,
)


@pytest.mark.parametrize(
    ("platform", "capability", "told"),
    [
        ("cpu", None, "any platform but NVIDIA GPUs (this is a cpu)"),
        ("gpu", "8.0", "GPUs of compute capability 8.0 (Hopper alone, 9.0)"),
        ("gpu", "10.0", "GPUs of compute capability 10.0 (Hopper alone, 9.0)"),
    ],
)
def test_other_devices_are_refused(platform: str, capability: str | None, told: str) -> None:
    demands = replace(CASE.demands(BFLOAT16, platform), compute_capability=capability)
    assert GpuAttention(make_mesh(tensor_parallel=1)).refusal(demands) == told


def test_heads_that_do_not_divide_over_devices_are_refused() -> None:
    demands = replace(CASE.demands(BFLOAT16, "gpu"), tensor_parallel=4)
    refusal = GpuAttention(make_mesh(tensor_parallel=4)).refusal(demands)
    assert refusal == "2 KV heads over 4 devices"


def test_float32_is_refused() -> None:
    demands = CASE.demands(jnp.dtype("float32"), "gpu")
    assert GpuAttention(make_mesh(tensor_parallel=1)).refusal(demands) == "float32"


def test_parts_that_are_joined_are_float32_and_others_what_is_asked_for() -> None:
    assert SHAPE.out_dtype == jnp.float32
    alone = replace(SHAPE, num_blocks=64)
    assert alone.out_dtype == BFLOAT16
    assert replace(alone, dtype=jnp.dtype("float16")).out_dtype == jnp.float16


@pytest.mark.parametrize(
    ("shape", "num_splits"),
    [
        (SHAPE, 33),
        (replace(SHAPE, num_blocks=64), 1),
        (replace(SHAPE, pages_per_seq=4), 2),
        (replace(SHAPE, pages_per_seq=1), 1),
        (replace(SHAPE, window=1024), 4),
    ],
    ids=["few rows", "many rows", "short rows", "one page", "a window"],
)
def test_a_row_is_split_while_the_device_is_idle_and_parts_are_long(
    shape: TileShape, num_splits: int
) -> None:
    assert shape.num_splits == num_splits
