"""Imports point one way, and the front of the house opens without JAX."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Who may import whom: a module may import from its own layer and from those below it.
LAYERS = (
    ("jaxserve.cli", "jaxserve.tgi_launcher"),
    ("jaxserve.bench", "jaxserve.plan"),
    ("jaxserve.launch", "jaxserve.llm", "jaxserve.convert", "jaxserve.inventory"),
    ("jaxserve.build_pooled",),
    ("jaxserve.build", "jaxserve.follow"),
    ("jaxserve.build_runner",),
    ("jaxserve.hosts.follower",),
    ("jaxserve.hosts.leader",),
    ("jaxserve.hosts.terms",),
    ("jaxserve.adapters", "jaxserve.identity", "jaxserve.profiling"),
    ("jaxserve.trace_regions",),
    ("jaxserve.startup",),
    ("jaxserve.server",),
    ("jaxserve.pooling",),
    ("jaxserve.generate",),
    ("jaxserve.text",),
    ("jaxserve.engine.loop", "jaxserve.memory"),
    (
        "jaxserve.engine.meter",
        "jaxserve.engine.pooling",
        "jaxserve.engine.runner",
        "jaxserve.engine.scheduler",
    ),
    (
        "jaxserve.engine.admission",
        "jaxserve.engine.batch",
        "jaxserve.engine.compilations",
        "jaxserve.engine.computation",
        "jaxserve.engine.device_state",
        "jaxserve.engine.pages",
        "jaxserve.engine.program_facts",
        "jaxserve.engine.programs",
        "jaxserve.engine.prefix",
        "jaxserve.engine.sizes",
        "jaxserve.engine.speculation",
        "jaxserve.engine.stopping",
    ),
    (
        "jaxserve.engine.backlog",
        "jaxserve.engine.buckets",
        "jaxserve.engine.commands",
        "jaxserve.engine.deltas",
        "jaxserve.engine.masks",
        "jaxserve.engine.metrics",
        "jaxserve.engine.pace",
        "jaxserve.engine.sampling",
        "jaxserve.engine.scoring",
        "jaxserve.engine.step",
        "jaxserve.engine.verifying",
    ),
    ("jaxserve.models",),
    ("jaxserve.sharding",),
    (
        "jaxserve.engine.constraint",
        "jaxserve.engine.histogram",
        "jaxserve.engine.lookup",
        "jaxserve.engine.request",
    ),
    ("jaxserve.config", "jaxserve.logs", "jaxserve.phases", "jaxserve.spellings"),
    ("jaxserve.hosts.wire",),
    ("jaxserve.errors", "jaxserve.hosts.environment", "jaxserve.shipped", "jaxserve.version"),
)
WITHOUT_JAX = (
    "jaxserve.bench.commands",
    "jaxserve.bench.engine_command",
    "jaxserve.bench.serve",
    "jaxserve.bench.startup_command",
    "jaxserve.cli",
    "jaxserve.plan.command",
    "jaxserve.plan.hardware",
    "jaxserve.tgi_launcher",
    "jaxserve.server",
    "jaxserve.generate",
    "jaxserve.pooling",
    "jaxserve.text",
    "jaxserve.engine.scheduler",
    "jaxserve.engine.loop",
    "jaxserve.engine.pooling.scheduler",
)
TEXTLESS = ("jaxserve.engine", "jaxserve.models", "jaxserve.sharding")


def modules() -> Iterator[tuple[str, Path]]:
    for folder, package in (
        ("jaxserve", "jaxserve"),
        ("models", "jaxserve.models"),
        ("sharding", "jaxserve.sharding"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):  # does not follow the two links
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(p for p in parts if p != "__init__"))), path


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> int | None:
    for index, names in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return index
    return None


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = layer_of(module)
    if own is None:
        assert module in ("jaxserve", "jaxserve.engine", "jaxserve.hosts"), (
            f"{module} is in no layer: add it"
        )
        return
    for name in imported(MODULES[module]):
        below = layer_of(name)
        if name.startswith("jaxserve.") and below is not None:
            assert below >= own, f"{module} imports {name}, which is above it"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(TEXTLESS)])
def test_the_engine_knows_no_text_and_no_http(module: str) -> None:
    for name in imported(MODULES[module]):
        assert not name.startswith(("jaxserve.text", "jaxserve.server", "starlette", "uvicorn"))


@pytest.mark.parametrize("module", MODULES)
def test_the_product_never_imports_torch(module: str) -> None:
    assert not any(n == "torch" or n.startswith("torch.") for n in imported(MODULES[module]))


@pytest.mark.parametrize("module", WITHOUT_JAX)
def test_no_jax_is_loaded_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
