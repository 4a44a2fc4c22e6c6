"""How long does a step take? Decode steps by rows and precision, and the products beneath them.

    python scripts/bench_engine.py [FOLDER]

Measures the engine without HTTP, interleaved, and prints medians and ratios. Run it alone on the
machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxserve.build import BuiltEngine, build_engine
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.runner import InFlight
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step

PROMPT_TOKENS = 64
OUTPUT_TOKENS = 64
ROUNDS = 5
ROWS = (1, 4, 16)
DTYPES = ("float32", "bfloat16")


def engine(model: str | None, dtype: str) -> BuiltEngine:
    source = ModelSource(model=model, dtype=dtype)  # type: ignore[arg-type]
    config = ServeConfig(source=source, engine=EngineConfig(max_model_len=512))
    return build_engine(config, log=io.StringIO())


def decode_step_ms(built: BuiltEngine, num_rows: int) -> float:
    """Milliseconds from step to step while `num_rows` requests decode, planned a step ahead."""
    sizes = built.sizes
    scheduler = Scheduler(
        PagePool(sizes.num_pages, sizes.page_size, prefix_cache=False),
        limits=built.loop.limits,
        max_batch_size=sizes.max_batch_size,
        token_budget=sizes.token_budget,
    )
    params = SamplingParams(max_tokens=OUTPUT_TOKENS, temperature=0.0, ignore_eos=True)
    for index in range(num_rows):
        prompt = tuple((index + 7 * i) % 100 + 20 for i in range(PROMPT_TOKENS))
        scheduler.add(Request(id=str(index), prompt_ids=prompt, params=params))
    ends: list[float] = []
    flying: tuple[Step, InFlight] | None = None
    while scheduler.num_unfinished or flying:
        step = scheduler.schedule()
        before, flying = flying, (step, built.runner.dispatch(step)) if step else None
        if before:
            scheduler.commit(before[0], built.runner.collect(before[1]))
            if before[0].decode_only and len(before[0].rows) == num_rows:
                ends.append(time.perf_counter())
    return statistics.median(b - a for a, b in itertools.pairwise(ends)) * 1e3


def product_ms(num_rows: int, dtype: str) -> float:
    """Milliseconds of eight products with a 1024 x 3072 weight stored [out, in]."""
    weights = [jnp.ones((3072, 1024), dtype) for _ in range(8)]
    x = jnp.ones((num_rows, 1024), dtype)

    @jax.jit
    def run(x: jax.Array, weights: list[jax.Array]) -> list[jax.Array]:
        contract = (((1,), (1,)), ((), ()))
        return [
            jax.lax.dot_general(x, w, contract, preferred_element_type=jnp.float32) for w in weights
        ]

    times = []
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(run(x, weights))
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def table(title: str, measure: Callable[[int, str], float], rows: tuple[int, ...]) -> None:
    """Measure every cell in turn, ROUNDS times, and print medians and ratios to the first."""
    cells = [(dtype, count) for dtype in DTYPES for count in rows]
    samples: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    for _ in range(ROUNDS):
        for dtype, count in cells:
            samples[dtype, count].append(measure(count, dtype))
    medians = {cell: statistics.median(values) for cell, values in samples.items()}
    first = medians[cells[0]]
    print(f"\n{title}\n| dtype | rows | ms | ratio |\n|---|---|---|---|")
    for (dtype, count), value in medians.items():
        print(f"| {dtype} | {count} | {value:.2f} | {value / first:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", help="model folder (default: the shipped model)")
    model = parser.parse_args().model
    engines = {dtype: engine(model, dtype) for dtype in DTYPES}
    print(f"{engines['float32'].num_params / 1e6:.1f} M parameters, {jax.devices()[0].device_kind}")
    table("decode step", lambda rows, dtype: decode_step_ms(engines[dtype], rows), ROWS)
    table("eight products of 1024 x 3072", product_ms, (1, 2, 8))


if __name__ == "__main__":
    main()
