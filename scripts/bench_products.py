"""How fast are the products of each form of weights, by rows?

    python scripts/bench_products.py [--rows 1 2 4 8 16 64] [--sizes 3072 1024]

Chains of products as a layer has them, weights as arguments, every cell measured in turn and again.
Prints medians, and how much faster than bfloat16 each form is at the same number of rows. Run it
alone on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.models.layers import dense_product
from jaxserve.models.making import in_groups, scales_of, values_of
from jaxserve.models.quantization import Quantization
from jaxserve.models.quantized import QuantizedArrays

FORMS = {
    "int8": Quantization(values="int8", int8_inputs="on_cpu"),
    "int8, float inputs": Quantization(values="int8"),
    "int4": None,  # by groups, as --quantize makes it
    "fp8": Quantization(values="fp8"),
}
FIRST = "bfloat16"
CHAIN = 8
ROUNDS = 15

Weight = jax.Array | tuple[jax.Array, jax.Array]
Measure = Callable[[], float]


def make(form: str, sizes: tuple[int, int]) -> list[Weight]:
    """The weights of a chain, [out, in] each."""
    floats = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    if form not in FORMS:
        return [jnp.asarray(floats, form) + 0 for _ in range(CHAIN)]
    how = FORMS[form] or in_groups(sizes[1])
    parts = values_of(floats, how), scales_of(floats, how)
    return [(jnp.asarray(parts[0]) + 0, jnp.asarray(parts[1]) + 0) for _ in range(CHAIN)]


def products(x: jax.Array, weights: list[Weight], *, form: str) -> list[jax.Array]:
    """Every weight by rows that no other product shares, with elementwise work in float32."""
    results = []
    for number, weight in enumerate(weights):
        rows = jnp.tanh(x * (number + 1))
        if isinstance(weight, tuple):
            how = FORMS[form] or in_groups(x.shape[1])
            results.append(QuantizedArrays(*weight, None, how).product(rows))
        else:
            results.append(dense_product(rows.astype(weight.dtype), weight))
    return results


def measure(form: str, num_rows: int, sizes: tuple[int, int]) -> Measure:
    """A function that runs the chain once and says how many milliseconds that took."""
    weights, x = make(form, sizes), jnp.ones((num_rows, sizes[1]), jnp.float32)
    run = jax.jit(partial(products, form=form)).lower(x, weights).compile()

    def once() -> float:
        started = time.perf_counter()
        jax.block_until_ready(run(x, weights))
        return (time.perf_counter() - started) * 1e3

    once()
    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64])
    parser.add_argument("--sizes", type=int, nargs=2, default=[3072, 1024], help="out and in")
    arguments = parser.parse_args()
    sizes: tuple[int, int] = tuple(arguments.sizes)
    forms = ("float32", FIRST, *FORMS)
    print(
        f"{CHAIN} products with {sizes[0]} x {sizes[1]} weights on {jax.devices()[0].device_kind}"
    )
    print("ms, and how many times faster than bfloat16 of as many rows\n")
    print(f"| rows | {' | '.join(forms)} |\n|---|{'---|' * len(forms)}")
    for num_rows in arguments.rows:
        print_row(num_rows, {form: measure(form, num_rows, sizes) for form in forms})


def print_row(num_rows: int, cells: dict[str, Measure]) -> None:
    samples: dict[str, Sequence[float]] = {form: [] for form in cells}
    for _ in range(ROUNDS):
        samples = {form: [*samples[form], once()] for form, once in cells.items()}
    medians = {form: statistics.median(values) for form, values in samples.items()}
    shown = (f"{ms:.2f} ({medians[FIRST] / ms:.1f}x)" for ms in medians.values())
    print(f"| {num_rows} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
