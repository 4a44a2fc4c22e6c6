"""The engine is measured by a config alone, in a process that has nothing of a server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxserve.bench.engine import EngineLoad, measure
from jaxserve.config import EngineConfig
from jaxserve.errors import ConfigError
from tests.bench.test_work import LLAMA

ROOT = Path(__file__).parent.parent.parent
SERVERS_OWN = [
    *("starlette", "uvicorn", "uvloop", "httptools", "transformers", "jinja2"),
    *("tokenizers", "sentencepiece", "llguidance", "prometheus_client", "httpx"),
]
WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # so that importing it fails
from jaxserve import cli
cli.main({arguments!r})
assert not any(name.startswith(("jaxserve.server", "jaxserve.text")) for name in sys.modules)
"""


def test_it_needs_nothing_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    out = tmp_path / "out.json"
    options = "--load-format dummy --rows 1 3 --prefill 40 --input-len 30 --output-len 4 --rounds 1"
    options += f" --token-budget 32 --price-per-hour 2 --compilation-cache {tmp_path}/compiled"
    arguments = ["bench", "engine", str(tmp_path), *options.split()]
    arguments += ["--profile", str(tmp_path / "traces")]
    code = WITHOUT.format(names=SERVERS_OWN, arguments=[*arguments, "--output", str(out)])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["num_params"] > 20_000
    assert report["bytes_per_s"] > 0 and report["flops_per_s"] > 0
    names = [figures["name"] for figures in report["figures"]]
    assert names == ["decode, rows 1", "decode, rows 3", "prefill, tokens 40"]
    for figures in report["figures"]:
        assert 0 < figures["mbu"] and 0 < figures["mfu"]
        assert 0 < figures["host_ms"] and 0 < figures["device_ms"] and 0 < figures["tokens_per_s"]
        cost = figures["cost_per_million_tokens"]
        assert 0 < cost["busy"] <= cost["idle_inclusive"]
    for name in names:
        assert name in done.stdout
    check_trace(tmp_path / "traces")


def check_trace(folder: Path) -> None:
    """Operations have the step's regions, and the host's work has names."""
    (path,) = folder.glob("plugins/profile/*/*.trace.json.gz")
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    programs = {
        event["args"]["hlo_module"] for event in events if "hlo_op" in event.get("args", ())
    }
    assert programs >= {"jit_decode_1", "jit_decode_3", "jit_mixed_32"}
    regions = {event["args"]["region"] for event in events if "region" in event.get("args", ())}
    assert regions >= {"embed", "logits", "sample"}
    for index in (0, 1):
        assert any(region.startswith(f"layer_{index}/attention") for region in regions)
        assert f"layer_{index}/mlp" in regions
    names = {event.get("name") for event in events}
    assert names >= {"schedule", "pack", "dispatch", "read", "commit"}


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (EngineLoad(rows=(), prefill=()), "nothing to measure"),
        (EngineLoad(rows=(0,)), "begin at 1"),
        (EngineLoad(output_len=0), "output_len"),
        (EngineLoad(rows=(8,), engine=EngineConfig(max_batch_size=4)), "max_batch_size is 4"),
        (EngineLoad(engine=EngineConfig(max_model_len=100)), "max_model_len is 100"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    load: EngineLoad, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        measure(load)
