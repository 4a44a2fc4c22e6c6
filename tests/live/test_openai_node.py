"""The official JavaScript client against the shipped model; tests/node/ holds its side."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import ANSWER_S, Live

NODE_TESTS = Path(__file__).parent.parent / "node"


@pytest.fixture(scope="module")
def results(live: Live) -> dict[str, Any]:
    node = shutil.which("node")
    assert node, "scripts/install dev brings node into .venv/bin"
    done = subprocess.run(
        [node, "client.mjs", f"{live.url}/v1"],
        cwd=NODE_TESTS,
        capture_output=True,
        text=True,
        timeout=3 * ANSWER_S,
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_chat_streamed_and_not(results: dict[str, Any]) -> None:
    assert "Paris" in results["chat"]
    assert results["streamed"] == results["chat"]


def test_completion(results: dict[str, Any]) -> None:
    assert "Paris" in results["completion"]


def test_models(results: dict[str, Any]) -> None:
    assert results["models"] == ["tiny-chat"]


def test_an_error_has_its_class_status_and_code(results: dict[str, Any]) -> None:
    assert results["error"] == {
        "name": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "param": "model",
    }


def test_a_cancelled_stream_frees_its_pages(results: dict[str, Any], live: Live) -> None:
    assert results["cancelled_after"] >= 3
    live.wait_until_idle()
