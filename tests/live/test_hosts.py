"""The real command on two hosts: two processes, a device each, that serve one model together."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jax
import pytest

from tests.live.conftest import ANSWER_S, Live

ROOT = Path(__file__).parent.parent.parent
SIZES = ("--max-batch-size", "2", "--token-budget", "32", "--num-pages", "64")
COUNTRY = {
    "type": "object",
    "properties": {"capital": {"enum": ["Paris", "Rome"]}},
    "required": ["capital"],
    "additionalProperties": False,
}
ASKED: list[dict[str, Any]] = [
    {"prompt": "What is the capital of France?", "temperature": 0.0, "max_tokens": 12},
    {"prompt": "One, two," * 12, "temperature": 1.0, "seed": 7, "max_tokens": 12},
    {"prompt": "Say it", "seed": 1, "repetition_penalty": 1.4, "logit_bias": {"40": 3.0}},
    {"prompt": "Answer:", "temperature": 0.0, "guided_json": COUNTRY, "max_tokens": 24},
    {"prompt": "The sun is", "temperature": 0.0, "max_tokens": 2, "prompt_logprobs": 1},
]


@dataclass(frozen=True)
class Hosts:
    """Two processes; `said` gives what one has written to stderr."""

    processes: list[subprocess.Popen[str]]
    url: str
    said: Callable[[int], str]

    def exit_code(self, index: int) -> int:
        return self.processes[index].wait(ANSWER_S)


@contextmanager
def launched(folder: Path) -> Iterator[Hosts]:
    """Host 0 and host 1, ready; what they compile is found again by the next two."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "",  # not the eight devices of the tests
        "JAXSERVE_COMPILATION_CACHE": str(jax.config.jax_compilation_cache_dir),  # type: ignore[attr-defined]
    }
    command = [sys.executable, "-m", "jaxserve.cli", "serve", "--port", "0", *SIZES]
    command += ["--tensor-parallel", "2", "--num-hosts", "2", "--max-model-len", "512"]
    command += ["--coordinator", f"127.0.0.1:{free_port()}", "--host-index"]
    logs = [folder / f"host-{index}" for index in range(2)]
    processes = []
    for index, log in enumerate(logs):
        with log.open("w") as stderr:
            processes.append(
                subprocess.Popen(
                    [*command, str(index)],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
            )
    try:
        assert processes[0].stdout
        found = (
            re.search(r"is ready: .* at (http://\S+)/v1", line) for line in processes[0].stdout
        )
        ready = next(filter(None, found), None)  # XLA has something to say before it
        assert ready, [log.read_text() for log in logs]
        yield Hosts(processes, ready[1], lambda index: logs[index].read_text())
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


def free_port() -> int:
    """One with a free port after it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


def answers(url: str) -> list[Any]:
    given = []
    with httpx.Client(base_url=url, timeout=ANSWER_S) as client:
        for body in ASKED:
            answer = client.post("/v1/completions", json={"model": "tiny-chat", **body})
            assert answer.status_code == 200, answer.text
            choice = answer.json()["choices"][0]
            ranks = [list(entry or ()) for entry in choice.get("prompt_logprobs") or ()]
            given.append((choice["text"], choice["finish_reason"], ranks))
    return given


@pytest.fixture
def expected(live: Live) -> list[Any]:
    return answers(live.url)


def test_two_hosts_answer_as_one_and_end_when_one_is_lost(
    tmp_path: Path, expected: list[Any]
) -> None:
    with launched(tmp_path) as hosts:
        assert answers(hosts.url) == expected
        body = {"model": "tiny-chat", "prompt": "One", "max_tokens": 400, "stream": True}
        body["ignore_eos"] = True
        asked = httpx.stream("POST", f"{hosts.url}/v1/completions", json=body, timeout=ANSWER_S)
        with asked as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
            hosts.processes[1].kill()
            rest = "\n".join(lines)
        assert '"error"' in rest
        assert hosts.exit_code(0) == 1
        assert "jaxserve: host 1 of 2 is lost: " in hosts.said(0)


def test_a_host_ends_when_the_first_one_is_lost(tmp_path: Path, live: Live) -> None:
    with launched(tmp_path) as hosts:
        hosts.processes[0].kill()
        assert hosts.exit_code(1) != 0
        assert "jaxserve: host 0, which schedules, is lost: " in hosts.said(1)
