"""How many tokens per second can the whole server stream, if the device answers at once?

    python scripts/bench_ceiling.py [--streams 256] [--tokens 200] [--rounds 3]

A server process with the real app, loop, scheduler, detokenizer and event streams over a runner
that answers at once; a load generator in another process; one event per token, counted. A bare
Starlette event stream, with nothing behind it, is the limit, measured in the same run. Run it
alone on the machine: two cores are what it is about.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOAL_PER_S = 30_000
PATH = "/v1/chat/completions"
KINDS = {"bare": "bare Starlette event stream", "app": "jaxserve"}


class Served:
    """A server process."""

    def __init__(self, kind: str, *, streams: int, tokens: int) -> None:
        command = [sys.executable, "-m", "scripts.host_cost.served", kind]
        self._process = subprocess.Popen(
            [*command, str(streams), str(tokens)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return float(self._line())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server ended"
        return line


def measure(served: Served, *, streams: int, tokens: int) -> dict[str, float]:
    """Tokens and events per second of one load, and microseconds of CPU time per token."""
    body = json.dumps(
        {
            "model": "tiny-chat",
            "messages": [{"role": "user", "content": "Tell me about the river."}],
            "max_tokens": tokens,
            "stream": True,
            "ignore_eos": True,
            "temperature": 0.7,
        }
    )
    before_s = served.cpu_s()
    command = [sys.executable, "-m", "scripts.host_cost.client"]
    arguments = [str(served.port), str(streams), PATH, body]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    seen: dict[str, float] = json.loads(done.stdout)
    num_tokens = streams * tokens
    return {
        "tokens per s": num_tokens / seen["seconds"],
        "events per token": seen["events"] / num_tokens,
        "server CPU us per token": (served.cpu_s() - before_s) / num_tokens * 1e6,
        "client CPU us per token": seen["cpu_s"] / num_tokens * 1e6,
    }


def median_of(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    size: dict[str, Any] = {"streams": asked.streams, "tokens": asked.tokens}
    servers = {kind: Served(kind, **size) for kind in KINDS}
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for index in range(asked.rounds + 1):
        for kind, served in servers.items():
            measured = measure(served, **size)
            if index:  # the first is to get warm
                rounds[kind].append(measured)
    for served in servers.values():
        served.stop()
    print(f"{asked.streams} streams of {asked.tokens} tokens\n")
    medians = {kind: median_of(each) for kind, each in rounds.items()}
    names = list(medians["app"])
    print("| | " + " | ".join(names) + " | of the bare stream |")
    print("|---" * (len(names) + 2) + "|")
    for kind, title in KINDS.items():
        cells = [f"{medians[kind][name]:,.2f}".removesuffix(".00") for name in names]
        share = medians[kind]["tokens per s"] / medians["bare"]["tokens per s"]
        print(f"| {title} | " + " | ".join(cells) + f" | {share:.2f} |")
    print(
        f"\nratio to the goal of {GOAL_PER_S:,}: {medians['app']['tokens per s'] / GOAL_PER_S:.2f}"
    )


if __name__ == "__main__":
    main()
