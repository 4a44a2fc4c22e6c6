"""The notebooks run from top to bottom with the model that ships, and are kept without outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import nbformat
import pytest

from jaxserve.bench.local import LocalServer
from jaxserve.errors import EngineFailed
from tests.live.conftest import Live

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "scripts" / "notebooks").glob("*.ipynb"))
EXECUTE = "import sys; from nbclient.cli import main; sys.exit(main())"


@pytest.fixture
def compiled(live: Live, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the live server left its programs; what is started finds them there."""
    folder = str(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined]
    monkeypatch.setenv("JAXSERVE_COMPILATION_CACHE", folder)
    return folder


def executed(name: str, folder: Path, **variables: str) -> list[dict[str, Any]]:
    """The outputs of a notebook that was run in a process and a folder of its own."""
    copy = folder / name
    copy.write_text((ROOT / "scripts" / "notebooks" / name).read_text())
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": paths, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    own |= {"IPYTHONDIR": str(folder / "ipython"), "MPLCONFIGDIR": str(folder / "matplotlib")}
    command = [sys.executable, "-c", EXECUTE, "--inplace", "--timeout=300", str(copy)]
    done = subprocess.run(
        command, env={**os.environ, **own, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [o for cell in nbformat.read(copy, 4).cells for o in cell.get("outputs", ())]


def shown(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_the_notebook_of_servers_measures_one_that_runs_and_one_that_it_starts(
    live: Live, compiled: str, tmp_path: Path
) -> None:
    outputs = executed(
        "serving.ipynb",
        tmp_path,
        BENCH_SERVERS=json.dumps({"found": live.url, "started": []}),
        BENCH_CONCURRENCIES="[1, 2]",
        BENCH_REQUESTS_PER_CLIENT="2",
        BENCH_INPUT_LEN="24",
        BENCH_OUTPUT_LEN="8",
    )
    assert len(shown(outputs, "image/png")) == 3
    figures, ratios = shown(outputs, "text/markdown")
    assert figures.count("| found") == figures.count("| started") == 2
    assert ratios.count("| started / found") == 2


def test_the_notebook_without_a_server_answers(compiled: str, tmp_path: Path) -> None:
    settings = json.dumps({"compilation_cache": compiled})
    outputs = executed("offline.ipynb", tmp_path, LLM_SETTINGS=settings)
    said = "".join(o["text"] for o in outputs if o.get("name") == "stdout")
    assert "France: " in said and "Paris" in said
    assert "8, 9, 10" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        assert not cell.get("outputs"), f"{path.name}: clear the outputs before it is committed"
        assert cell.get("execution_count") is None


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(EngineFailed, match=r"there is no folder \./no-such-folder"):
        LocalServer("./no-such-folder")
