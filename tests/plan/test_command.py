"""`jaxserve plan` reads lengths and prices, and answers for several machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxserve.errors import ConfigError
from jaxserve.plan.command import length, parse
from tests.tiny_models import write_tiny_llama

LIBTPU = Path(sys.prefix) / "aot" / "libtpu" / "libtpu.so"


@pytest.mark.parametrize(("text", "tokens"), [("8192", 8192), ("8k", 8192), ("32K", 32768)])
def test_lengths_are_tokens(text: str, tokens: int) -> None:
    assert length(text) == tokens


@pytest.mark.parametrize("text", ["", "0", "8m", "-1"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a number of tokens"):
        length(text)


def test_a_price_names_its_machine() -> None:
    with pytest.raises(ConfigError, match=r"price = 'v6e-8'"):
        parse(["m", "--on", "cpu", "--price", "v6e-8"]).run()


def planned(folder: Path, on: str, **environment: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "jaxserve.cli", "plan", str(folder), "--on", on, "--json"]
    sizes = ["--context", "64", "--concurrency", "4", "--token-budget", "32", "--dtype", "bfloat16"]
    ran = subprocess.run(
        [*command, *sizes],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answers: list[dict[str, object]] = json.loads(ran.stdout)
    return answers


def test_a_card_that_is_not_here_gets_an_upper_bound(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "m")
    cpu, cards = planned(folder, "cpu,h200-2")
    assert cpu["compiled"] == "exact" and cpu["fits"]
    assert str(cards["compiled"]).startswith("upper bound")


@pytest.mark.skipif(not LIBTPU.is_file(), reason="libtpu is not installed beside the environment")
def test_a_tpu_needs_no_tpu(tmp_path: Path) -> None:
    told = {"TPU_LIBRARY_PATH": str(LIBTPU), "JAX_PLATFORMS": "cpu"}
    (found,) = planned(write_tiny_llama(tmp_path / "m"), "v5e-4", **told)
    assert found["compiled"] == "exact" and found["fits"]
    assert found["num_devices"] == 4
