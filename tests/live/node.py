"""Run a script of tests/node, which talks to a live server as a JavaScript user would."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.live.conftest import ANSWER_S

FOLDER = Path(__file__).parent.parent / "node"


def run_node(script: str, base_url: str) -> Any:
    """What the script printed, which is JSON."""
    node = shutil.which("node")
    assert node, "scripts/install dev brings node into .venv/bin"
    done = subprocess.run(
        [node, script, base_url], cwd=FOLDER, capture_output=True, text=True, timeout=3 * ANSWER_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
