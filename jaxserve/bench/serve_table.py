"""How is a load's report read in a terminal?"""

from __future__ import annotations

from jaxserve.bench.serve import ServeReport
from jaxserve.bench.summary import MEASURES, PERCENTILES
from jaxserve.bench.table import Cell, table

TITLES = {
    "ttft": "time to first token",
    "tpot": "time per output token, after the first",
    "itl": "between pieces of text",
    "e2el": "end to end",
}
MOST_ERRORS = 10


def describe(report: ServeReport) -> str:
    """Counts and rates, latencies in milliseconds, and every kind of error by its name."""
    parts = [table(("what", report.model), _counts(report)), _latencies(report)]
    errors = report.figures["error_counts"]
    if errors:
        most = sorted(errors.items(), key=lambda error: -error[1])[:MOST_ERRORS]
        parts.append(table(("requests", "failed with"), [(count, name) for name, count in most]))
    return "\n\n".join(parts)


def _counts(report: ServeReport) -> list[tuple[str, Cell]]:
    figures = report.figures
    rows: list[tuple[str, Cell]] = [
        ("requests completed", figures["completed"]),
        ("requests failed", figures["failed"]),
        ("seconds", figures["duration"]),
        ("most requests at once", figures["max_concurrent_requests"]),
        ("input tokens", figures["total_input_tokens"]),
        ("of which from a prefix cache", figures["total_cached_tokens"]),
        ("output tokens", figures["total_output_tokens"]),
        ("answers shorter than asked", figures["shorter_than_asked"]),
        ("requests a second", figures["request_throughput"]),
        ("output tokens a second", figures["output_throughput"]),
        ("all tokens a second", figures["total_token_throughput"]),
    ]
    if "request_goodput" in figures:
        limits = ", ".join(f"{k} {v:g} ms" for k, v in figures["goodput_config"].items())
        rows.append((f"good requests a second ({limits})", figures["request_goodput"]))
        rows.append(("share of requests that were good", figures["goodput_share"]))
    if "price_per_hour" in figures:
        for kind in ("output", "total"):
            prices = figures[f"cost_per_million_{kind}_tokens"]
            rows.append((f"a million {kind} tokens, busy time", prices["busy"]))
            rows.append((f"a million {kind} tokens, idle time too", prices["idle_inclusive"]))
    return rows


def _latencies(report: ServeReport) -> str:
    keys = ["mean", "median", *(f"p{percent}" for percent in PERCENTILES)]
    rows = [
        (TITLES[name], *(report.figures[f"{key}_{name}_ms"] for key in keys)) for name in MEASURES
    ]
    return table(("ms", *keys), rows)
