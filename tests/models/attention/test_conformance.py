"""Every backend on the same cases against NumPy; what it does not do it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.interface import PagedBackend
from jaxserve.models.attention.registry import BACKENDS
from jaxserve.sharding.mesh import make_mesh
from tests.models.attention.conformance import (
    CASES,
    Array,
    Case,
    Rounding,
    attended,
    rounded_with_scales,
)
from tests.models.attention.gpu_interpretation import interpreted_gpu
from tests.models.attention.tpu_interpretation import interpreted_tpu


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a backend is run where its platform is not at hand."""

    platform: str
    dtype: str = "float32"
    most_error: float = 1e-5
    rounded: Rounding = rounded_with_scales
    interpreted: Callable[[], AbstractContextManager[object]] = nullcontext


def cast_to_fp8(vectors: Array, kind: jnp.dtype) -> Array:
    return np.asarray(jnp.asarray(vectors, kind), np.float64)


SETTINGS = {
    "xla": Setting(platform="cpu"),
    "tpu": Setting(platform="tpu", rounded=cast_to_fp8, interpreted=interpreted_tpu),
    "gpu": Setting(platform="gpu", dtype="bfloat16", most_error=0.02, interpreted=interpreted_gpu),
}


def backend(name: str) -> PagedBackend:
    return BACKENDS[name](make_mesh(tensor_parallel=1, devices=jax.devices()[:1]))


def test_every_backend_is_here() -> None:
    assert set(SETTINGS) == set(BACKENDS)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_agrees_with_numpy_or_refuses_by_name(name: str, case: Case) -> None:
    setting = SETTINGS[name]
    dtype, own = jnp.dtype(setting.dtype), backend(name)
    refusal = own.refusal(case.demands(dtype, setting.platform))
    expected = case.refused_by.get(name)
    assert (refusal is None) == (expected is None), refusal
    if refusal is not None:
        assert expected is not None and expected in refusal
        return
    with setting.interpreted():
        got, wanted = attended(own, case, dtype, setting.rounded)
    np.testing.assert_allclose(got, wanted, atol=setting.most_error)
