"""What do all answers of a run say together? Rates, percentiles and goodput, under the names that
`vllm bench serve` writes. What failed is counted by its name and in no average."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxserve.bench.client import Answer
from jaxserve.bench.cost import Paid
from jaxserve.errors import ConfigError

MEASURES = ("ttft", "tpot", "itl", "e2el")
PERCENTILES = (90, 99)
OBJECTIVES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el", "e2el": "e2el"}


def parse_goodput(said: Iterable[str]) -> dict[str, float]:
    """Milliseconds by measure from `ttft:200`, `tpot:50`, `itl:100`, `e2e:5000`."""
    limits: dict[str, float] = {}
    for part in said:
        name, _, number = part.partition(":")
        try:
            limits[OBJECTIVES[name]] = float(number)
        except (KeyError, ValueError):
            raise ConfigError(
                f"{part!r} is not an objective; write NAME:MILLISECONDS with one of "
                f"{', '.join(OBJECTIVES)}"
            ) from None
    return limits


def summarize(
    answers: Sequence[Answer],
    *,
    duration_s: float,
    objectives: Mapping[str, float],
    price_per_hour: float | None,
) -> dict[str, Any]:
    """The figures of a run; None where there is nothing to take them of."""
    good = [answer for answer in answers if answer.error is None]
    num_input = sum(answer.prompt_tokens for answer in good)
    num_output = sum(answer.output_tokens for answer in good)
    figures: dict[str, Any] = {
        "duration": duration_s,
        "busy_duration": busy_s(answers),
        "completed": len(good),
        "failed": len(answers) - len(good),
        "error_counts": dict(Counter(answer.error for answer in answers if answer.error)),
        "total_input_tokens": num_input,
        "total_cached_tokens": sum(answer.cached_tokens for answer in good),
        "total_output_tokens": num_output,
        "shorter_than_asked": sum(a.output_tokens < a.wanted_tokens for a in good),
        "request_throughput": len(good) / duration_s,
        "output_throughput": num_output / duration_s,
        "total_token_throughput": (num_input + num_output) / duration_s,
        "max_concurrent_requests": most_at_once(answers),
    }
    for name, values in _values(good).items():
        figures |= _distribution(name, values)
    if objectives:
        num_met = sum(meets(answer, objectives) for answer in good)
        figures["goodput_config"] = dict(objectives)
        figures["request_goodput"] = num_met / duration_s
        figures["goodput_share"] = num_met / len(answers) if answers else None
    if price_per_hour is not None:
        paid = Paid(price_per_hour=price_per_hour, wall_s=duration_s, busy_s=busy_s(answers))
        figures["price_per_hour"] = price_per_hour
        figures["cost_per_million_output_tokens"] = paid.per_million(num_output)
        figures["cost_per_million_total_tokens"] = paid.per_million(num_input + num_output)
    return figures


def meets(answer: Answer, objectives: Mapping[str, float]) -> bool:
    """Whether an answer kept every limit, in milliseconds; `itl` holds for its longest gap."""
    measured = {
        "ttft": answer.ttft_s,
        "tpot": answer.tpot_s or 0.0,
        "itl": max(answer.gaps_s, default=0.0),
        "e2el": answer.e2e_s,
    }
    return all(measured[name] * 1e3 <= limit for name, limit in objectives.items())


def busy_s(answers: Iterable[Answer]) -> float:
    """For how long at least one request was being answered."""
    total_s, free_s = 0.0, 0.0
    for answer in sorted(answers, key=lambda answer: answer.sent_s):
        began_s = max(answer.sent_s, free_s)
        total_s += max(0.0, answer.ended_s - began_s)
        free_s = max(free_s, answer.ended_s)
    return total_s


def most_at_once(answers: Iterable[Answer]) -> int:
    """The most requests that were being answered at one time."""
    changes = [(a.sent_s, 1) for a in answers] + [(a.ended_s, -1) for a in answers]
    most = running = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def _values(good: Sequence[Answer]) -> dict[str, list[float]]:
    return {
        "ttft": [answer.ttft_s for answer in good],
        "tpot": [tpot for answer in good if (tpot := answer.tpot_s) is not None],
        "itl": [gap for answer in good for gap in answer.gaps_s],
        "e2el": [answer.e2e_s for answer in good],
    }


def _distribution(name: str, values_s: Sequence[float]) -> dict[str, float | None]:
    keys = [f"{what}_{name}_ms" for what in ("mean", "std", "median")]
    keys += [f"p{percent}_{name}_ms" for percent in PERCENTILES]
    if not values_s:
        return dict.fromkeys(keys)
    ms = np.asarray(values_s) * 1e3
    figures = [ms.mean(), ms.std(), *np.percentile(ms, [50, *PERCENTILES])]
    return {key: float(figure) for key, figure in zip(keys, figures, strict=True)}
