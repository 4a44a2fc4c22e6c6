"""How do jaxserve, llama.cpp, vLLM and transformers serve the same weights on this machine's CPU?

    python scripts/bench_peers.py MODEL [--llama-server PATH --gguf bf16=FILE q8_0=FILE]
        [--vllm VENV] [--transformers VENV] [--rounds 3] [--output FILE]

MODEL is a folder of safetensors; the GGUF files hold the same weights. In every round each server
is started in turn, asked, and stopped. Nothing else may run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from operator import truediv
from pathlib import Path

from jaxserve.bench.flavors import FlavorName
from jaxserve.bench.serve import ServeLoad, measure
from jaxserve.bench.startup import Started, rss_bytes, started
from jaxserve.bench.table import table
from jaxserve.errors import EngineFailed

OURS = "jaxserve"
TIMEOUT_S = 300.0
CORES = os.cpu_count() or 1
CONTEXT, STREAMS = 2048, 8
PROMPT, OUTPUT, LONG_PROMPT = 128, 128, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server to measure: how it is started, and in which way it is asked."""

    name: str
    command: tuple[str, ...]
    flavor: FlavorName
    model: str | None = None
    """Name to ask for; None: the first that it lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one round saw of a server. Rates are in tokens per second."""

    start_s: float
    one_stream: float
    streams: float
    prefill: float
    memory_gb: float


def jaxserve(model: Path) -> Iterator[Server]:
    command = (
        *(sys.executable, "-m", "jaxserve.cli", "serve", str(model), "--port", "{port}"),
        *("--max-model-len", str(CONTEXT), "--max-batch-size", str(STREAMS)),
    )
    yield Server(name=f"{OURS}, bf16", command=(*command, "--dtype", "bfloat16"), flavor="jaxserve")
    quantized = (*command, "--dtype", "bfloat16", "--quantize", "int8")
    yield Server(name=f"{OURS}, int8", command=quantized, flavor="jaxserve")


def llama_cpp(server: Path, files: Mapping[str, str]) -> Iterator[Server]:
    threads = str(CORES)
    for precision, file in files.items():
        command = (
            *(str(server), "-m", file, "--host", "127.0.0.1", "--port", "{port}"),
            *("-t", threads, "-tb", threads, "--parallel", str(STREAMS)),
            *("-c", str(STREAMS * CONTEXT), "--offline"),
        )
        yield Server(name=f"llama.cpp, {precision}", command=command, flavor="llama.cpp")


def vllm(venv: Path, model: Path) -> Server:
    """Built for the CPU; the two libraries are preloaded as its own guide says."""
    env = (
        *("env", "VLLM_CPU_KVCACHE_SPACE=2", f"VLLM_CPU_OMP_THREADS_BIND=0-{CORES - 1}"),
        *("HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1"),
        f"LD_PRELOAD=libtcmalloc_minimal.so.4:{venv}/lib/libiomp5.so",
    )
    command = (
        *(f"{venv}/bin/python", "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", "{port}", "--model", str(model)),
        *("--dtype", "bfloat16", "--max-model-len", str(CONTEXT)),
        *("--max-num-seqs", str(STREAMS), "--no-enable-prefix-caching"),
    )
    return Server(name="vLLM, bf16", command=(*env, *command), flavor="vllm")


def transformers(venv: Path, model: Path) -> Server:
    """With continuous batching; without the two numbers its cache takes most of the memory."""
    env = ("env", "HF_HUB_OFFLINE=1", f"OMP_NUM_THREADS={CORES}")
    command = (
        *(f"{venv}/bin/transformers", "serve", str(model), "--host", "127.0.0.1"),
        *("--port", "{port}", "--device", "cpu", "--dtype", "bfloat16"),
        *("--continuous-batching", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "2048"),
    )
    return Server(
        name="transformers, bf16",
        command=(*env, *command),
        flavor="transformers",
        model=str(model),  # it lists what is in the hub's cache
    )


def measure_once(server: Server, *, seed: int) -> Figures:
    """Start it, ask it, stop it."""
    with started(
        server.command, timeout_s=TIMEOUT_S, flavor=server.flavor, model=server.model
    ) as running:
        return Figures(
            start_s=running.start.total_s,
            one_stream=_decode(server, running, streams=1, answers=2, seed=seed),
            streams=_decode(server, running, streams=STREAMS, answers=2 * STREAMS, seed=seed),
            prefill=_prefill(server, running, seed=seed),
            memory_gb=rss_bytes(running.pid) / 1e9,
        )


def _decode(server: Server, running: Started, *, streams: int, answers: int, seed: int) -> float:
    """Tokens per second of all answers, the time of their prompts included."""
    load = ServeLoad(
        base_url=running.url,
        model=server.model,
        flavor=server.flavor,
        num_prompts=answers,
        max_concurrency=streams,
        input_len=str(PROMPT),
        output_len=str(OUTPUT),
        temperature=0.0,
        seed=seed + streams,
    )
    figures = measure(load, progress=False).figures
    _expect(server, figures["completed"] == answers and not figures["shorter_than_asked"], figures)
    return float(figures["output_throughput"])


def _prefill(server: Server, running: Started, *, seed: int) -> float:
    """Tokens of a prompt over the time to its first token, in the median of a few."""
    load = ServeLoad(
        base_url=running.url,
        model=server.model,
        flavor=server.flavor,
        num_prompts=5,
        max_concurrency=1,
        input_len=str(LONG_PROMPT),
        output_len="1",
        temperature=0.0,
        seed=seed,
    )
    report = measure(load, progress=False)
    _expect(server, report.figures["completed"] == 5, report.figures)
    return statistics.median(each.prompt_tokens / each.ttft_s for each in report.answers)


def _expect(server: Server, good: bool, figures: object) -> None:
    if not good:
        raise EngineFailed(f"{server.name} did not answer as asked: {figures}")


COLUMNS: Mapping[str, Callable[[Figures], float]] = {
    "1 stream, tokens/s": lambda figures: figures.one_stream,
    f"{STREAMS} streams, tokens/s": lambda figures: figures.streams,
    f"prefill of {LONG_PROMPT}, tokens/s": lambda figures: figures.prefill,
    "start, s": lambda figures: figures.start_s,
    "memory, GB": lambda figures: figures.memory_gb,
}
Row = tuple[str | float, ...]


def describe(rounds: Mapping[str, list[Figures]]) -> str:
    """A table of medians, and one of jaxserve's in each precision over those of each peer."""
    medians = {
        name: [statistics.median(map(of, seen)) for of in COLUMNS.values()]
        for name, seen in rounds.items()
    }
    rows: list[Row] = [(name, *figures) for name, figures in medians.items()]
    ratios: list[Row] = [
        (f"{ours} / {peer}", *map(truediv, medians[ours], medians[peer]))
        for ours, peer in product(medians, medians)
        if ours.startswith(OURS) and not peer.startswith(OURS)
    ]
    return f"{table(('median', *COLUMNS), rows)}\n\n{table(('ratio', *COLUMNS), ratios)}"


def _servers(asked: argparse.Namespace) -> list[Server]:
    servers = list(jaxserve(asked.model))
    if asked.llama_server:
        servers += llama_cpp(asked.llama_server, dict(asked.gguf))
    if asked.vllm:
        servers.append(vllm(asked.vllm, asked.model))
    if asked.transformers:
        servers.append(transformers(asked.transformers, asked.model))
    return [server for server in servers if not asked.only or asked.only in server.name]


def _named_file(given: str) -> tuple[str, str]:
    precision, equals, file = given.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{given!r}: write PRECISION=FILE, as bf16=model.gguf")
    return precision, file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--gguf", nargs="+", default=[], type=_named_file, metavar="PRECISION=FILE")
    parser.add_argument("--vllm", type=Path, help="its virtual environment")
    parser.add_argument("--transformers", type=Path, help="its virtual environment")
    parser.add_argument("--only", help="a part of the names of the servers to measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="file for every figure, as JSON")
    asked = parser.parse_args()
    if bool(asked.llama_server) != bool(asked.gguf):
        parser.error("llama.cpp takes both --llama-server and --gguf")
    if asked.rounds < 1:
        parser.error(f"--rounds is {asked.rounds}; it begins at 1")
    servers = _servers(asked)
    if not servers:
        parser.error(f"no server that was given has {asked.only!r} in its name")
    seen: dict[str, list[Figures]] = {}
    for number in range(asked.rounds):
        for server in servers:
            figures = measure_once(server, seed=1000 * number)
            print(f"round {number + 1}: {server.name}: {asdict(figures)}", file=sys.stderr)
            seen.setdefault(server.name, []).append(figures)
    if asked.output:
        plain = {name: [asdict(each) for each in all_of] for name, all_of in seen.items()}
        asked.output.write_text(json.dumps(plain, indent=2))
    print(describe(seen))


if __name__ == "__main__":
    main()
