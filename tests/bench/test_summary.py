"""Figures are of what succeeded; tokens are those of usage; objectives hold or do not."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.bench.client import Answer
from jaxserve.bench.summary import busy_s, meets, parse_goodput, summarize
from jaxserve.errors import ConfigError


def answer(sent_s: float = 0.0, *, error: str | None = None, tokens: int = 5) -> Answer:
    """Pieces of text after 0.1, 0.2 and 0.4 seconds, and the end after 0.5."""
    return Answer(
        sent_s=sent_s,
        piece_s=[sent_s + 0.1, sent_s + 0.2, sent_s + 0.4],
        ended_s=sent_s + 0.5,
        wanted_tokens=5,
        prompt_tokens=10,
        output_tokens=tokens,
        error=error,
    )


def summary(answers: list[Answer], **options: Any) -> dict[str, Any]:
    given = {"duration_s": 2.0, "objectives": {}, "price_per_hour": None, **options}
    return summarize(answers, **given)


def test_an_answer_has_its_times() -> None:
    figures = summary([answer()])
    assert figures["mean_ttft_ms"] == pytest.approx(100)
    assert figures["mean_itl_ms"] == pytest.approx(150)
    assert figures["median_e2el_ms"] == pytest.approx(500)
    # Five tokens by usage came in three pieces.
    assert figures["p99_tpot_ms"] == pytest.approx(400 / 4)


def test_rates_are_over_the_whole_run() -> None:
    figures = summary([answer(), answer(0.2)])
    assert figures["request_throughput"] == 1.0
    assert figures["output_throughput"] == 5.0
    assert figures["total_token_throughput"] == 15.0
    assert figures["max_concurrent_requests"] == 2


def test_what_failed_is_named_and_in_no_figure() -> None:
    slow = Answer(sent_s=0.0, ended_s=100.0, output_tokens=9, error="HTTP 500: oh")
    figures = summary([answer(), slow, slow, answer(error="cut")])
    alone = summary([answer()])
    assert (figures["completed"], figures["failed"]) == (1, 3)
    assert figures["error_counts"] == {"HTTP 500: oh": 2, "cut": 1}
    same = [key for key in alone if key.endswith(("_ms", "throughput", "_tokens"))]
    assert len(same) > 20
    assert {key: figures[key] for key in same} == {key: alone[key] for key in same}


def test_without_an_answer_there_is_no_figure_and_no_division_by_zero() -> None:
    figures = summary([answer(error="cut")], objectives={"ttft": 1.0}, price_per_hour=1.0)
    assert figures["median_ttft_ms"] is None
    assert figures["goodput_share"] == 0.0
    assert figures["cost_per_million_output_tokens"] == {"busy": None, "idle_inclusive": None}


def test_answers_shorter_than_asked_are_counted() -> None:
    assert summary([answer(), answer(tokens=4)])["shorter_than_asked"] == 1


@pytest.mark.parametrize(
    ("said", "is_met"),
    [
        ("ttft:101", True),
        ("ttft:99", False),
        ("tpot:101", True),
        ("tpot:99", False),
        ("itl:201", True),  # the longest gap
        ("itl:199", False),
        ("e2e:501", True),
        ("e2el:499", False),
    ],
)
def test_an_objective_is_met_or_not(said: str, is_met: bool) -> None:
    assert meets(answer(), parse_goodput([said])) is is_met


def test_goodput_counts_what_kept_every_objective_out_of_all() -> None:
    limits = parse_goodput(["ttft:200", "e2e:600"])
    figures = summary([answer(), answer(), answer(error="cut")], objectives=limits)
    assert figures["request_goodput"] == 1.0
    assert figures["goodput_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("said", ["ttft", "ttft:x", "speed:3"])
def test_an_unknown_objective_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match="NAME:MILLISECONDS"):
        parse_goodput([said])


def test_busy_is_when_at_least_one_is_answered() -> None:
    assert busy_s([answer(3.0), answer(0.0), answer(0.2)]) == pytest.approx(0.7 + 0.5)


def test_a_million_tokens_cost_less_when_idle_time_is_free() -> None:
    figures = summary([answer()], price_per_hour=3.6)
    # 0.001 a second; half a second of work in two made 5 tokens.
    cost = figures["cost_per_million_output_tokens"]
    assert cost["busy"] == pytest.approx(0.001 * 0.5 / 5 * 1e6)
    assert cost["idle_inclusive"] == pytest.approx(0.001 * 2.0 / 5 * 1e6)
    assert figures["cost_per_million_total_tokens"]["busy"] == pytest.approx(cost["busy"] / 3)
