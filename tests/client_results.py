"""Which client passed which test? A pytest plugin that writes it down, for docs/compatibility.md.

    python -m pytest -p tests.client_results --client-results FILE ...

A test counts for the client that `pytest.mark.client(name, distribution)` names.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NODE_PACKAGES = Path(__file__).parent / "node" / "package.json"
OPTION = "--client-results"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=Path, help="write what each client passed to this file")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption(OPTION)
    if file is not None:
        config.pluginmanager.register(Results(file))


class Results:
    """Gathers `{client: {"version": ..., "tests": {name: outcome}}}` and writes it at the end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clients: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Iterator[None]:  # pytest hands the report back through `yield`
        report: Any = yield
        marker = item.get_closest_marker("client")
        if marker is not None and (report.when == "call" or report.outcome != "passed"):
            name, distribution = marker.args
            client = self.clients.setdefault(name, {"version": version_of(distribution)})
            tests = client.setdefault("tests", {})
            known = tests.get(item.name, "passed")
            tests[item.name] = report.outcome if known == "passed" else known
        return report

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(self.clients, indent=1, sort_keys=True) + "\n")


def version_of(distribution: str) -> str:
    """Of a Python distribution, of `npm:` a package of tests/node, or of a `command:`."""
    kind, _, name = distribution.rpartition(":")
    if kind == "npm":
        version: str = json.loads(NODE_PACKAGES.read_text())["dependencies"][name]
        return version
    if kind == "command":
        said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"\d+(\.\d+)+", said.stdout)
        return found.group() if found else ""
    return importlib.metadata.version(name)
