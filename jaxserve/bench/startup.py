"""How long from a process's start to its first token, part by part, cold and warm?

Cold is a start with an empty compilation cache, warm one after it. The files of the weights may be
in the machine's page cache either way.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from jaxserve.bench.client import CHAT, Client, Manner, Question
from jaxserve.bench.flavors import FLAVORS, FlavorName
from jaxserve.bench.http import Address, Connections
from jaxserve.bench.serve import first_model
from jaxserve.bench.table import table
from jaxserve.errors import ConfigError, EngineFailed
from jaxserve.phases import Phases

FIRST_TOKEN = "first_token"
READY_AND_BEFORE = "ready"
POLL_S = 0.01
STOP_S = 30.0
SAID_LINES = 20  # of its log, when a server does not start


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start: seconds of each part, and the memory of the process after its first token."""

    seconds: Mapping[str, float]
    rss_bytes: int

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that runs."""

    url: str
    pid: int
    start: Start


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupReport:
    """The cold start, where there was one, and those after it."""

    cold: Start | None
    warm: tuple[Start, ...]
    price_per_hour: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; medians are over the warm starts."""
        said: dict[str, Any] = {
            "cold": _plain(self.cold) if self.cold else None,
            "warm": [_plain(start) for start in self.warm],
            "median_warm": _medians(self.warm),
        }
        if self.price_per_hour is not None:
            said["cost_of_a_warm_start"] = self._cost(said["median_warm"]["total"])
            said["cost_of_a_cold_start"] = self._cost(self.cold.total_s) if self.cold else None
        return said

    def text(self) -> str:
        medians = _medians(self.warm)
        rows = [
            (name, self.cold.seconds.get(name) if self.cold else None, seconds)
            for name, seconds in medians.items()
            if name != "total"
        ]
        totals: list[Any] = ["all", self.cold.total_s if self.cold else None, medians["total"]]
        text = table(
            ("seconds", "cold", f"warm, median of {len(self.warm)}"), [*rows, tuple(totals)]
        )
        most = max(start.rss_bytes for start in self.warm)
        text += f"\n\n{most / 1e9:.2f} GB resident after the first token of a warm start"
        if self.price_per_hour is not None:
            text += f"; a warm start costs {self._cost(medians['total']):.6f}"
        return text

    def _cost(self, seconds: float) -> float:
        assert self.price_per_hour is not None, "nobody said what an hour costs"
        return self.price_per_hour * seconds / 3600


def measure_jaxserve(arguments: Sequence[str], *, repeat: int, timeout_s: float) -> StartupReport:
    """Start `jaxserve serve ARGUMENTS` cold, then warm so many times."""
    for taken in ("--port", "--startup-report", "--compilation-cache"):
        if taken in arguments:
            raise ConfigError(f"bench startup sets {taken} itself; leave it out")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "jaxserve.cli", "serve", *arguments, "--port", "{port}"]
        command += ["--startup-report", str(report), "--compilation-cache", f"{folder}/compiled"]
        starts = []
        for _ in tqdm(range(repeat + 1), unit="start", disable=None):
            report.unlink(missing_ok=True)
            starts.append(start_once(command, timeout_s=timeout_s, report=report))
    return StartupReport(cold=starts[0], warm=tuple(starts[1:]), price_per_hour=None)


def measure_command(
    command: str, *, repeat: int, timeout_s: float, flavor: FlavorName, model: str | None = None
) -> StartupReport:
    """Start any server so many times; {port} in the command is where it shall listen.

    `model` is the name to ask for where the first that /v1/models lists is not it.
    """
    if "{port}" not in command:
        raise ConfigError(f"{command!r} does not say where {{port}} goes")
    starts = [
        start_once(shlex.split(command), timeout_s=timeout_s, flavor=flavor, model=model)
        for _ in tqdm(range(repeat), unit="start", disable=None)
    ]
    return StartupReport(cold=None, warm=tuple(starts), price_per_hour=None)


def start_once(
    command: Sequence[str],
    *,
    timeout_s: float,
    report: Path | None = None,
    flavor: FlavorName = "jaxserve",
    model: str | None = None,
) -> Start:
    """Start a server, have it answer one token, and stop it; as `started`."""
    with started(command, timeout_s=timeout_s, report=report, flavor=flavor, model=model) as server:
        return server.start


@contextmanager
def started(
    command: Sequence[str],
    *,
    timeout_s: float,
    report: Path | None = None,
    flavor: FlavorName = "jaxserve",
    model: str | None = None,
) -> Iterator[Started]:
    """A server that has answered its first token; it is stopped at the end.

    {port} in the command is where it listens. It is ready when it lists a model, or, where `model`
    names one, when /health says so. Raises EngineFailed when it does not start in time.
    """
    port = _free_port()
    filled = [part.replace("{port}", str(port)) for part in command]
    address = Address.parse(f"http://127.0.0.1:{port}")
    spawned_at = time.time()
    phases = Phases(began_at=spawned_at)
    with _running(filled) as (process, log):
        until = spawned_at + timeout_s
        name = asyncio.run(_wait(process, address, log, model=model, until=until))
        if report is not None:
            phases.merge(json.loads(report.read_text())["ended_at"])
        else:
            phases.end(READY_AND_BEFORE)
        asyncio.run(_first_token(address, name, flavor, timeout_s))
        phases.end(FIRST_TOKEN)
        start = Start(seconds=phases.seconds, rss_bytes=rss_bytes(process.pid))
        yield Started(url=address.url, pid=process.pid, start=start)


async def _wait(
    process: subprocess.Popen[bytes],
    address: Address,
    log: Path,
    *,
    model: str | None,
    until: float,
) -> str:
    """The name of the model, as soon as the server is ready."""
    while time.time() < until:
        try:
            return await _ready_model(address, model)
        except EngineFailed:
            await asyncio.sleep(POLL_S)
        if process.poll() is not None:
            raise EngineFailed(
                f"the server ended with {process.returncode} and said:\n{_said(log)}"
            )
    raise EngineFailed(
        "the server was not ready in time; --timeout-s sets how long it may take. "
        f"It said:\n{_said(log)}"
    )


async def _ready_model(address: Address, model: str | None) -> str:
    """The model that is named or listed; raises EngineFailed for a server that is not ready."""
    if model is None:
        return await first_model(address, {})
    request = address.request("GET", "/health", b"", {})
    try:
        status = await Connections(address, keep=False).exchange(request, lambda _: None)
    except OSError as error:
        raise EngineFailed(f"there is no server at {address.url}: {error}") from None
    if status != 200:
        raise EngineFailed(f"{address.url}/health answered {status}")
    return model


def _said(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-SAID_LINES:])


async def _first_token(address: Address, model: str, flavor: FlavorName, timeout_s: float) -> None:
    manner = Manner(
        endpoint=CHAT,
        model=model,
        flavor=FLAVORS[flavor],
        ignore_eos=True,
        headers={},
        sampling={"temperature": 0.0},
        timeout_s=timeout_s,
    )
    client = Client(address, manner)
    hello = {"role": "user", "content": "Hello"}
    answer = await client.ask(Question(messages=(hello,), max_tokens=1))
    client.close()
    if answer.error is not None:
        raise EngineFailed(f"the first request failed: {answer.error}")


@contextmanager
def _running(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process, Path(log.name)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and those that it started."""
    root = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [root, *root.children(recursive=True)])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _plain(start: Start) -> dict[str, Any]:
    return {"phases": dict(start.seconds), "total": start.total_s, "rss_bytes": start.rss_bytes}


def _medians(starts: Sequence[Start]) -> dict[str, float]:
    medians = {
        name: statistics.median(start.seconds[name] for start in starts)
        for name in starts[0].seconds
    }
    return {**medians, "total": statistics.median(start.total_s for start in starts)}
