"""The script for GPUs runs without one, in tiny sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def gpu_check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/gpu_check", *arguments],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_parts_run_and_print_their_tables() -> None:
    done = gpu_check("conformance", "attention", "engine", "peer", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    for column in ("worst error", "xla, MBU", "xla, MFU", "decode, rows 2", "torch"):
        assert column in done.stdout


def test_a_part_that_is_not_there_is_named() -> None:
    done = gpu_check("conformity")
    assert done.returncode == 2
    assert "no part is called conformity; there are conformance, attention" in done.stderr


def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    done = gpu_check("engine", "conformance", "--shape", str(tmp_path))
    assert done.returncode == 1
    assert "engine: FAILED" in done.stdout
    assert "conformance: done" in done.stdout
