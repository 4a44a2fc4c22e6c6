"""The real command: it starts, says so, answers what it told to paste, and stops when told to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest
from openai import OpenAI

from jaxserve.phases import COMPILE, DEVICES, IMPORTS, POOL, READY, WARM_UP, WEIGHTS
from tests.live.conftest import ANSWER_S, Live

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Launched:
    process: subprocess.Popen[str]
    ready: str
    curl: str
    report: Path

    @property
    def client(self) -> OpenAI:
        found = re.search(r"http://\S+/v1", self.ready)
        assert found, self.ready
        return OpenAI(base_url=found[0], api_key="none", max_retries=0, timeout=ANSWER_S)


@pytest.fixture
def launched(live: Live, tmp_path: Path) -> Iterator[Launched]:
    """`jaxserve serve --port 0`, which finds its programs where the live server left them."""
    environment = {
        **os.environ,
        "JAXSERVE_COMPILATION_CACHE": str(jax.config.jax_compilation_cache_dir),  # type: ignore[attr-defined]
    }
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "jaxserve.cli", "serve", "--port", "0"]
    command += ["--startup-report", str(report)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    yield Launched(process, process.stdout.readline(), process.stdout.readline(), report)
    process.kill()
    process.wait()
    process.stdout.close()


def test_it_says_that_it_is_ready_and_what_to_try(launched: Launched) -> None:
    assert "is ready: tiny-chat at http://127.0.0.1:" in launched.ready
    done = subprocess.run(launched.curl, shell=True, capture_output=True, text=True, check=True)
    parts = json.loads(launched.report.read_text())["seconds"]
    assert list(parts) == [IMPORTS, DEVICES, WEIGHTS, POOL, COMPILE, WARM_UP, READY]
    assert f"after {sum(parts.values()):.1f} s" in launched.ready
    assert "Paris" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_on_sigterm_a_running_request_is_finished_and_the_exit_is_clean(
    launched: Launched,
) -> None:
    stream = launched.client.completions.create(
        model="tiny-chat",
        prompt="One",
        max_tokens=300,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    reasons = [next(iter(stream)).choices[0].finish_reason]
    launched.process.send_signal(signal.SIGTERM)
    reasons += [chunk.choices[0].finish_reason for chunk in stream]
    assert not any(reasons[:-1])
    assert reasons[-1] == "length"
    assert launched.process.wait(ANSWER_S) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["./no-such-folder"], 1, "there is no folder ./no-such-folder"),
        (["--tensor-parallel", "64"], 2, "64"),
        (["--max-model-len", "1000000"], 2, "context 2048"),
        (["--host", "256.0.0.1"], 2, "cannot listen on 256.0.0.1"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    arguments: list[str], code: int, says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jaxserve.cli", "serve", "--port", "0", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("jaxserve: ")
    assert says in last
    assert "Traceback" not in done.stderr
