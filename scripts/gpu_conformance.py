"""Does attention on this device compute what NumPy does? The tests' cases, run for real."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.bench.table import table
from jaxserve.models.attention.registry import BACKENDS
from jaxserve.sharding.mesh import make_mesh
from tests.models.attention.conformance import CASES, attended, rounded_with_scales

THREADS = 8
MOST_ERROR = 0.02
MOST_ERROR_FP8 = 0.1  # of a rounding that falls to the other side: its input may be an ulp apart


def main(names: Sequence[str] | None = None) -> None:
    """Prints the worst error of each backend; exits with 1 if it is too large."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    platform = jax.default_backend()
    settings = [("xla", "float32"), ("xla", "bfloat16"), (platform, "bfloat16")]
    rows, failed = [], []
    for name, dtype in settings if platform in BACKENDS else settings[:2]:
        errors = _errors(name, jnp.dtype(dtype), names or list(CASES))
        worst = max(errors, key=lambda each: errors[each])
        rows.append((f"{name}, {dtype}", len(errors), errors[worst], worst))
        failed += [
            f"{name}, {dtype}, {case}" for case, error in errors.items() if not _fine(case, error)
        ]
    print(table(("backend", "cases", "worst error", "in"), rows))
    if failed:
        sys.exit("\n".join(["too large an error:", *failed]))


def _errors(name: str, dtype: jnp.dtype, names: Sequence[str]) -> dict[str, float]:
    """The largest of each case that the backend does. Several at once: most of it is compiling."""
    own = BACKENDS[name](make_mesh(tensor_parallel=1, devices=jax.devices()[:1]))

    def error(case: str) -> float:
        got, wanted = attended(own, CASES[case], dtype, rounded_with_scales)
        return float(np.abs(got - wanted).max(initial=0.0))

    platform = jax.default_backend()
    done = [case for case in names if own.refusal(CASES[case].demands(dtype, platform)) is None]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(done, pool.map(error, done), strict=True))


def _fine(case: str, error: float) -> bool:
    return error <= (MOST_ERROR_FP8 if "fp8" in case else MOST_ERROR)
