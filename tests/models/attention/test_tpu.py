"""The TPU backend's own: its layout over a mesh, what it refuses, and that real chips take it.

Programs are compiled for TPUs that are not there, by libtpu; scripts/install dev puts it beside the
environment, because jax looks for a TPU at every start where it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.tpu import TpuAttention
from jaxserve.sharding.mesh import make_mesh
from tests.models.attention.conformance import Case, attended
from tests.models.attention.tpu_interpretation import interpreted_tpu

ROOT = Path(__file__).parents[3]
LIBTPU = Path(sys.prefix) / "aot" / "libtpu" / "libtpu.so"
BFLOAT16, FLOAT32 = jnp.dtype("bfloat16"), jnp.dtype("float32")
CASE = Case(rows=((5, 1), (70, 9)), num_tokens=16, num_rows=3, num_kv_heads=2, group=2)
WITHOUT_A_CHIP = {
    "JAX_PLATFORMS": "cpu",
    "TPU_LIBRARY_PATH": str(LIBTPU),
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def backend(tensor_parallel: int) -> TpuAttention:
    return TpuAttention(make_mesh(tensor_parallel=tensor_parallel))


@pytest.mark.parametrize(
    ("tensor_parallel", "stored", "on_a_device"), [(1, 2, 2), (2, 2, 1), (4, 4, 1), (8, 8, 1)]
)
def test_a_key_lies_beside_its_value_and_heads_are_kept_as_often_as_devices_need_them(
    tensor_parallel: int, stored: int, on_a_device: int
) -> None:
    own = backend(tensor_parallel)
    row = KVRow(num_heads=2, head_dim=64)
    pages = own.init_pages(num_pages=3, page_size=16, row=row, dtype=BFLOAT16)
    assert pages.shape == (3, 16, 2 * stored, 128)
    sharding = own.page_sharding(pages.shape, make_mesh(tensor_parallel=tensor_parallel))
    assert sharding.shard_shape(pages.shape)[2] == 2 * on_a_device


@pytest.mark.parametrize("tensor_parallel", [2, 4])
def test_heads_over_devices_compute_the_same(tensor_parallel: int) -> None:
    with interpreted_tpu():
        got, wanted = attended(backend(tensor_parallel), CASE, FLOAT32, lambda x, _: x)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("num_heads", "tensor_parallel", "told"),
    [(3, 2, "3 KV heads over 2 devices"), (3, 1, "3 KV heads of bfloat16 on a device")],
)
def test_heads_that_do_not_fit_are_refused(num_heads: int, tensor_parallel: int, told: str) -> None:
    demands = replace(CASE, num_kv_heads=num_heads).demands(BFLOAT16, "tpu")
    assert backend(tensor_parallel).refusal(demands) == told


def test_other_platforms_are_refused() -> None:
    assert backend(1).refusal(CASE.demands(BFLOAT16, "cpu")) == (
        "any platform but TPUs (this is a cpu)"
    )


@pytest.mark.skipif(not LIBTPU.exists(), reason="libtpu is missing: scripts/install dev brings it")
@pytest.mark.parametrize(("topology", "tensor_parallel"), [("v5e:2x2", 4), ("v6e:2x2", 2)])
def test_whole_steps_compile_for_real_chips(topology: str, tensor_parallel: int) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.models.attention.compile_for_tpu",
            topology,
            str(tensor_parallel),
        ],
        cwd=ROOT,
        env={**os.environ, **WITHOUT_A_CHIP},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("step ")]
    assert [line[1] for line in lines] == ["decode", "mixed"]
    for _, _, num_kernels, most_gathered, temporary_bytes in lines:
        assert int(num_kernels) == 2  # one a layer
        assert int(most_gathered) <= 16 * 32_000  # logits; no weights and no pages
        assert int(temporary_bytes) < 32e6  # pages are written in place


def test_devices_of_this_process_are_cpus() -> None:
    assert {device.platform for device in jax.devices()} == {"cpu"}
