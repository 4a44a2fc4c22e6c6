"""What does speculation gain where answers repeat themselves, and what does it cost elsewhere?

    python scripts/bench_speculation.py [MODEL] [--load-format dummy] [--rows 1 4] [--rounds 3]

Two engines on the same weights, one with `--speculative ngram`, take the same requests in turn:
greedy ones, which in a small model soon go round in circles; ones that draw from the whole
vocabulary, so that nothing comes twice; and ones that draw from four tokens, so that there always
is something to guess from, and the guess mostly wrong. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from jaxserve.build import BuiltEngine, build_engine
from jaxserve.config import check_config
from jaxserve.engine.request import Request, SamplingParams, TokenDelta

NUM_PROMPT = 64
WORKLOADS: dict[str, dict[str, Any]] = {
    "goes in circles": {"temperature": 0.0},
    "never repeats": {"temperature": 1.0},
    "misleads": {"temperature": 1.0, "allowed_token_ids": frozenset(range(100, 104))},
}


class Engine:
    """A started engine, and how long it takes for some requests."""

    def __init__(self, built: BuiltEngine) -> None:
        self._built = built
        self._left = 0
        self._done = threading.Event()
        self._loop = built.loop
        built.loop.start(self._deliver)

    def seconds(self, requests: Sequence[Request]) -> float:
        """From handing the requests over to the last token of all."""
        self._left = len(requests)
        self._done.clear()
        began_s = time.perf_counter()
        for request in requests:
            self._loop.submit(request)
        self._done.wait()
        return time.perf_counter() - began_s

    def drafts(self) -> tuple[int, int]:
        """Tokens drafted so far, and those of them that were right."""
        totals = self._loop.stats().totals
        return totals.draft_tokens, totals.accepted_tokens

    def close(self) -> None:
        self._loop.stop(5.0)
        self._built.runner.close()

    def _deliver(self, deltas: Sequence[TokenDelta]) -> None:
        self._left -= sum(delta.finish_reason is not None for delta in deltas)
        if not self._left:
            self._done.set()


def requests(name: str, rows: int, *, max_tokens: int, seed: int) -> list[Request]:
    """Those of a workload, whose prompts do not begin alike."""
    return [
        Request(
            id=f"{name} {seed} {row}",
            prompt_ids=tuple((17 * row + 7 * place) % 90 + 3 for place in range(NUM_PROMPT)),
            params=SamplingParams(
                max_tokens=max_tokens, ignore_eos=True, seed=seed + row, **WORKLOADS[name]
            ),
        )
        for row in range(rows)
    ]


def build(given: argparse.Namespace, speculation: dict[str, Any]) -> Engine:
    config = check_config(
        {
            "source": {"model": given.model, "load_format": given.load_format},
            "engine": {"max_model_len": 1024, "max_batch_size": max(given.rows)},
            "speculation": speculation,
        }
    )
    return Engine(build_engine(config, log=sys.stderr))


def measure(given: argparse.Namespace, plain: Engine, drafting: Engine) -> Iterator[str]:
    """A line of the table for each workload and number of rows."""
    for name in WORKLOADS:
        for rows in given.rows:
            times: dict[Engine, list[float]] = {plain: [], drafting: []}
            before = drafting.drafts()
            for turn in range(given.rounds + 1):  # the first is to warm up
                for engine, taken in times.items():
                    asked = requests(name, rows, max_tokens=given.max_tokens, seed=100 * turn)
                    taken.append(engine.seconds(asked))
            ratios = [p / d for p, d in zip(*times.values(), strict=True)][1:]
            rate = rows * given.max_tokens / statistics.median(times[plain][1:])
            drafted, right = (
                now - then for now, then in zip(drafting.drafts(), before, strict=True)
            )
            share = f"{right} of {drafted}" if drafted else "none"
            yield (
                f"| {name} | {rows} | {rate:.1f} | {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}) | {share} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--load-format", default="auto", choices=("auto", "dummy"))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=256)
    given = parser.parse_args()
    plain, drafting = build(given, {}), build(given, {"speculative": "ngram"})
    print("| workload | rows | tokens/s without | with ngram, ratio | drafted tokens right |")
    print("|---|--:|--:|--:|--:|")
    for line in measure(given, plain, drafting):
        print(line, flush=True)
    plain.close()
    drafting.close()


if __name__ == "__main__":
    main()
