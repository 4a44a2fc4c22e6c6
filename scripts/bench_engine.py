"""How long does a decode step take, by rows and by what the weights are?

    python scripts/bench_engine.py [FOLDER]

Measures the engine without HTTP, interleaved, and prints medians and ratios; `bench_products.py`
measures the products beneath. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import time
from collections.abc import Mapping

import jax

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
KINDS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}


def engine(model: str | None, kind: str) -> BuiltEngine:
    source = ModelSource(model=model, **KINDS[kind])  # type: ignore[arg-type]
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


def print_table(engines: Mapping[str, BuiltEngine]) -> None:
    """Measure every cell in turn, ROUNDS times, and print medians and ratios to the first."""
    cells = [(kind, count) for kind in engines for count in ROWS]
    samples: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    for _ in range(ROUNDS):
        for kind, count in cells:
            samples[kind, count].append(decode_step_ms(engines[kind], count))
    medians = {cell: statistics.median(values) for cell, values in samples.items()}
    print("\ndecode step\n| weights | rows | ms | ratio to float32 |\n|---|---|---|---|")
    for (kind, count), value in medians.items():
        print(f"| {kind} | {count} | {value:.2f} | {value / medians['float32', count]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", help="model folder (default: the shipped model)")
    model = parser.parse_args().model
    engines = {kind: engine(model, kind) for kind in KINDS}
    print(f"{engines['float32'].num_params / 1e6:.1f} M parameters, {jax.devices()[0].device_kind}")
    print_table(engines)


if __name__ == "__main__":
    main()
