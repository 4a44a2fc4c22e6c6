"""How is a plan told, to people and to programs?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxserve.plan.answer import Answer

_GB = 1e9


def lines(answer: Answer, price_per_hour: float | None) -> Iterator[str]:
    """A plan in words and figures, for a terminal."""
    verdict = "fits" if answer.fits else "does not fit"
    devices = "device" if answer.num_devices == 1 else "devices"
    yield (
        f"{answer.machine} ({answer.num_devices} {devices}): {verdict}; "
        f"{answer.concurrency} requests of {answer.context} tokens"
    )
    yield f"  compiled        {answer.compiled}; attention {answer.attention}"
    yield f"  weights         {answer.weights_bytes / _GB:8.2f} GB a device"
    per_token = f"{answer.kv_bytes_per_token} B a token"
    yield f"  KV cache        {answer.kv_bytes / _GB:8.2f} GB ({per_token})"
    yield f"  kept by slots   {answer.other_bytes / _GB:8.2f} GB"
    if answer.worst is not None:
        worst = answer.worst
        yield f"  worst program   {worst.extra_bytes / _GB:8.2f} GB ({worst.name})"
    yield f"  needed          {answer.needed_bytes / _GB:8.2f} GB"
    yield f"  usable          {answer.usable_bytes / _GB:8.2f} GB"
    if answer.refusal:
        yield f"  refused         {answer.refusal}"
    else:
        yield (
            f"  fits at most    {answer.largest_concurrency} requests of {answer.context} tokens, "
            f"or {answer.concurrency} of {answer.largest_context}"
        )
    yield from _speed(answer, price_per_hour)
    for change in answer.changes:
        yield f"  would fit with  {change}"


def _speed(answer: Answer, price_per_hour: float | None) -> Iterator[str]:
    roofline = answer.roofline
    if roofline is None:
        return
    yield (
        f"  roofline        decode {roofline.decode:,.0f} tokens/s "
        f"(limit: {roofline.decode_limit}), prefill {roofline.prefill:,.0f} tokens/s"
    )
    if price_per_hour is not None:
        costs = costs_per_million(answer, price_per_hour)
        yield (
            f"  at least        {costs['output']:.3f} per million output tokens, "
            f"{costs['input']:.3f} per million input tokens, at {price_per_hour:g} an hour"
        )


def costs_per_million(answer: Answer, price_per_hour: float) -> dict[str, float]:
    """What a million tokens cost at the roofline: a busy machine of a perfect server."""
    assert answer.roofline is not None
    per_second = price_per_hour / 3600
    return {
        "output": 1e6 * per_second / answer.roofline.decode,
        "input": 1e6 * per_second / answer.roofline.prefill,
    }


def as_json(answers: Sequence[Answer], prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """The same as plain values."""
    told = []
    for answer in answers:
        entry = dataclasses.asdict(answer)
        entry |= {
            "fits": answer.fits,
            "kv_bytes": answer.kv_bytes,
            "needed_bytes": answer.needed_bytes,
            "worst_program": answer.worst.name if answer.worst else None,
        }
        if answer.machine in prices and answer.roofline is not None:
            entry["costs_per_million"] = costs_per_million(answer, prices[answer.machine])
        told.append(entry)
    return told
