"""schemathesis over /openapi.json: no 5xx, no hang, and answers as the document says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.client("schemathesis", "schemathesis")

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
HANG_S = "30"  # with a context of 96 tokens no honest answer takes a tenth of it


def run(url: str, *options: str) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    command = [str(tool), "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), *options]
    command += ["--request-timeout", HANG_S, "--seed", "1", "--no-color"]
    command += ["--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_edges_of_every_field_of_every_route(short_url: str) -> None:
    run(short_url, "--phases", "coverage")


def test_random_bodies_of_every_route(short_url: str) -> None:
    run(short_url, "--phases", "fuzzing", "--max-examples", "30")


def test_random_bodies_of_every_route_of_an_embedding_model(embed_url: str) -> None:
    run(embed_url, "--phases", "fuzzing", "--max-examples", "15")
