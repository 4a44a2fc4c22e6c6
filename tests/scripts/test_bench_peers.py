"""The table beside peers says what was seen, and nothing that was asked for is left out."""

from __future__ import annotations

import sys

import pytest

from scripts.bench_peers import Figures, describe, main


def seen(rate: float) -> Figures:
    return Figures(start_s=rate, one_stream=rate, streams=rate, prefill=rate, memory_gb=rate)


def test_ratios_are_of_medians_and_of_each_precision_over_each_peer() -> None:
    rounds = {
        "jaxserve, bf16": [seen(1), seen(3), seen(80)],
        "jaxserve, int8": [seen(6)],
        "vLLM, bf16": [seen(4)],
    }
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in describe(rounds).split("\n")
    ]
    assert ["jaxserve, bf16", *["3"] * 5] in cells
    assert ["jaxserve, bf16 / vLLM, bf16", *["0.75"] * 5] in cells
    assert ["jaxserve, int8 / vLLM, bf16", *["1.5"] * 5] in cells
    assert len(cells) == 5 + 1 + 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gguf", "bf16=m.gguf"], "--llama-server"),
        (["--llama-server", "llama-server"], "--gguf"),
        (["--llama-server", "llama-server", "--gguf", "m.gguf"], "PRECISION=FILE"),
        (["--only", "vLLM"], "'vLLM'"),
        (["--rounds", "0"], "begins at 1"),
    ],
)
def test_what_would_be_ignored_is_refused(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_peers", "model", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert told in capsys.readouterr().err
