"""How long does the host work for a decode step, if the device answers at once? Without HTTP.

    python scripts/bench_host.py

CPU time of the engine's thread per step of the real loop, by rows; then what the parts of a step
cost, and what it costs to call a program with as many arrays as a model of 28 layers has, whose
work is nothing. Run it alone on the machine.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# so that scripts.host_cost is found when this file is run by its path
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jaxserve.engine.batch import Words, num_words
from jaxserve.engine.buckets import Bucket
from jaxserve.engine.request import Request, SamplingParams, TokenDelta
from jaxserve.engine.step import Step
from scripts.host_cost.instant import (
    MAX_LOGPROBS,
    PAGES_PER_SEQ,
    InstantRunner,
    make_loop,
    make_scheduler,
)

ROWS = (64, 256)
GOAL_MS = {64: 1.0, 256: 2.0}
STEPS = 400
ROUNDS = 3
PROMPT = tuple(range(20, 52))
NUM_PARAMS, NUM_CACHES = 28 * 11 + 2, 28 * 2


def requests(num_rows: int) -> list[Request]:
    params = SamplingParams(max_tokens=STEPS, temperature=0.7, top_p=0.9, seed=1, ignore_eos=True)
    return [Request(id=f"r{i}:{i}", prompt_ids=PROMPT, params=params) for i in range(num_rows)]


def loop_step_ms(num_rows: int) -> float:
    """CPU time of the engine's thread per step in which every row draws, in the real loop."""
    loop, ended = make_loop(num_rows), threading.Event()
    times_s: list[float] = []

    def deliver(deltas: Sequence[TokenDelta]) -> None:
        if len(deltas) == num_rows and deltas[0].finish_reason is None:
            times_s.append(time.thread_time())
        if not any(delta.finish_reason is None for delta in deltas):
            ended.set()

    for request in requests(num_rows):
        loop.submit(request)
    loop.start(deliver)
    assert ended.wait(60), "the engine did not end"
    loop.stop(1.0)
    assert len(times_s) > STEPS / 2, "too few steps were full"
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) * 1e3


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        began = time.thread_time()
        result = work(*args)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - began
        return result


def part_ms(num_rows: int) -> dict[str, float]:
    """The parts of a step, planned a step ahead as the loop does."""
    scheduler, runner = make_scheduler(num_rows), InstantRunner(num_slots=num_rows)
    for request in requests(num_rows):
        scheduler.add(request)
    flying: tuple[Step, tuple[Step, Words]] | None = None
    watch, num_steps = Stopwatch(), 0
    while scheduler.num_unfinished or flying:
        full = flying is not None and flying[0].decode_only and len(flying[0].rows) == num_rows
        timed = watch.timed if full else _untimed
        num_steps += full
        step = timed("schedule", scheduler.schedule)
        handle = timed("pack", runner.dispatch, step) if step else None
        before, flying = flying, (step, handle) if step and handle else None
        if before:
            result = timed("unpack", runner.collect, before[1])
            timed("commit", scheduler.commit, before[0], result)
    return {name: seconds / num_steps * 1e3 for name, seconds in watch.seconds.items()}


def _untimed(name: str, work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


def call_ms(num_rows: int) -> dict[str, float]:
    """Sending a step's words, calling a program, and reading what it drew."""
    bucket = Bucket(num_rows, num_rows, True)
    words = np.zeros(num_words(bucket, PAGES_PER_SEQ), np.int32)
    params = tuple(jnp.zeros((8, 8)) for _ in range(NUM_PARAMS))
    state = tuple(jnp.zeros((8, 8)) for _ in range(NUM_CACHES))

    def step(
        params: tuple[jax.Array, ...], state: tuple[jax.Array, ...], words: jax.Array
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        return state, jnp.resize(words, (num_rows, 3 + 2 * MAX_LOGPROBS))

    jitted = jax.jit(step, donate_argnums=1, keep_unused=True)
    program = jitted.lower(params, state, jnp.asarray(words)).compile()
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    watch = Stopwatch()
    for index in range(STEPS):
        timed = watch.timed if index >= STEPS // 4 else _untimed
        sent = timed("send", jax.device_put, words, sharding)
        state, draw = timed("call", program, params, state, sent)
        jax.block_until_ready(draw)
        timed("read", np.asarray, draw)
    return {name: s / (STEPS - STEPS // 4) * 1e3 for name, s in watch.seconds.items()}


def median_of(measure: Callable[[int], dict[str, float]], num_rows: int) -> dict[str, float]:
    rounds = [measure(num_rows) for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def main() -> None:
    cells = {}
    for num_rows in ROWS:
        whole = statistics.median(loop_step_ms(num_rows) for _ in range(ROUNDS))
        parts, call = median_of(part_ms, num_rows), median_of(call_ms, num_rows)
        rest = whole - sum(parts.values())
        host = whole + sum(call.values())
        cells[num_rows] = parts | {"measure and hand out": rest} | call | {"all": host}
    print("host time of a decode step, ms\n")
    print("| part | " + " | ".join(f"{n} rows" for n in ROWS) + " |")
    print("|---" * (len(ROWS) + 1) + "|")
    for name in cells[ROWS[0]]:
        print(f"| {name} | " + " | ".join(f"{cells[n][name]:.3f}" for n in ROWS) + " |")
    ratios = (f"{cells[n]['all'] / GOAL_MS[n]:.2f}" for n in ROWS)
    print("| ratio to the goal (1 and 2 ms) | " + " | ".join(ratios) + " |")


if __name__ == "__main__":
    main()
