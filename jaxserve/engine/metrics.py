"""What the engine measures, as plain values: totals since start, and a picture of right now.

Knows no exporter and no clock; whoever exports names and labels them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jaxserve.engine.request import FinishReason


@dataclass(slots=True, kw_only=True)
class EngineTotals:
    """Counts since start; they only grow, and every one exists from the beginning at 0."""

    steps: int = 0
    prompt_tokens: int = 0  # of the requests admitted
    prefix_hit_tokens: int = 0  # those of them that needed no computing at first admission
    generation_tokens: int = 0
    discarded_tokens: int = 0  # computed for requests that had ended meanwhile
    preemptions: int = 0
    finished: dict[FinishReason, int] = field(
        default_factory=lambda: dict.fromkeys(FinishReason, 0)
    )

    def copy(self) -> EngineTotals:
        return replace(self, finished=dict(self.finished))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """The engine after some step. Used pages are those requests hold; cached ones can be found."""

    running: int
    waiting: int
    used_pages: int
    cached_pages: int
    total_pages: int
    totals: EngineTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHealth:
    """Whether the engine works.

    `failure` says why it stopped, None while it has not failed. `stalled_s` is how long it has
    had work without finishing a step; 0 when it has no work.
    """

    alive: bool
    failure: str | None
    stalled_s: float
