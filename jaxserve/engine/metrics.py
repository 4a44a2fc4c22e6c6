"""What the engine measures, as plain values: totals since start, and a picture of right now.

Knows no exporter and no clock; whoever exports names and labels them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Literal

from jaxserve.engine.histogram import BATCH_SIZES, SECONDS, Histogram, token_bounds
from jaxserve.engine.request import FinishReason


class StepKind(enum.StrEnum):
    """A decode step computes one known token in each row; a prefill step more in at least one."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(slots=True, kw_only=True)
class EngineTotals:
    """Counts since start; they only grow, and every one exists from the beginning at 0."""

    steps: int = 0
    prompt_tokens: int = 0  # of the requests admitted
    prefix_hit_tokens: int = 0  # those of them that needed no computing at first admission
    generation_tokens: int = 0
    discarded_tokens: int = 0  # computed for requests that had ended meanwhile
    preemptions: int = 0
    not_finite: int = 0  # requests that ended because their logits were no numbers
    drafts: int = 0  # guesses of the next tokens of a row that were verified
    draft_tokens: int = 0  # in them
    accepted_at: dict[int, int] = field(default_factory=dict)  # those right, by place in a draft
    finished: dict[FinishReason, int] = field(
        default_factory=lambda: dict.fromkeys(FinishReason, 0)
    )

    def copy(self) -> EngineTotals:
        return replace(self, finished=dict(self.finished), accepted_at=dict(self.accepted_at))

    def count_draft(self, num_tokens: int, *, num_right: int) -> None:
        """Count a draft that was verified."""
        self.drafts += 1
        self.draft_tokens += num_tokens
        for place in range(num_right):
            self.accepted_at[place] = self.accepted_at.get(place, 0) + 1

    @property
    def accepted_tokens(self) -> int:
        return sum(self.accepted_at.values())


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


class EngineHistograms:
    """Distributions since start.

    Of every request that ended: `total_s`, `prompt_tokens`, `output_tokens`, `max_tokens`,
    `cached_tokens` and `computed_tokens` (the prompt's, by the prefix cache and by the device), and
    `drafted_tokens` (the output's, that came as drafts which were right).
    Of those that came that far: `queue_s` (to the first step), `prefill_s` (from there to the
    first token), `first_token_s` (both), `decode_s` (from the first token to the end),
    `inference_s` (from the first step to the end), `time_per_token_s` (inference over all tokens)
    and `time_per_next_token_s` (decode over the tokens after the first).
    """

    def __init__(self, *, max_model_len: int, max_step_tokens: int) -> None:
        tokens, step_tokens = token_bounds(max_model_len), token_bounds(max_step_tokens)
        self.queue_s = Histogram(SECONDS)
        self.prefill_s = Histogram(SECONDS)
        self.first_token_s = Histogram(SECONDS)
        self.inter_token_s = Histogram(SECONDS)
        self.decode_s = Histogram(SECONDS)
        self.inference_s = Histogram(SECONDS)
        self.total_s = Histogram(SECONDS)
        self.time_per_token_s = Histogram(SECONDS)
        self.time_per_next_token_s = Histogram(SECONDS)
        self.prompt_tokens = Histogram(tokens)
        self.output_tokens = Histogram(tokens)
        self.max_tokens = Histogram(tokens)
        self.cached_tokens = Histogram(tokens)
        self.computed_tokens = Histogram(tokens)
        self.drafted_tokens = Histogram(tokens)
        self.step_tokens = Histogram(step_tokens)
        self.step_admitted = Histogram(BATCH_SIZES)  # requests that join, in steps where any does
        self.step_rows = {kind: Histogram(BATCH_SIZES) for kind in StepKind}
        self.step_s = {kind: Histogram(SECONDS) for kind in StepKind}  # of the device
        self.commit_s = {kind: Histogram(SECONDS) for kind in StepKind}  # of the host, after it

    def copy(self) -> EngineHistograms:
        twin = EngineHistograms.__new__(EngineHistograms)
        for name, value in vars(self).items():
            by_kind = isinstance(value, dict)
            copied = {kind: h.copy() for kind, h in value.items()} if by_kind else value.copy()
            setattr(twin, name, copied)
        return twin


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedSizes:
    """The fixed sizes that make sense of the other numbers."""

    max_model_len: int
    max_batch_size: int
    max_step_tokens: int
    page_size: int
    num_pages: int
    prefix_cache: bool
    num_draft_tokens: int = 0  # in a draft at most


@dataclass(frozen=True, slots=True)
class AttentionInUse:
    """Which attention backend computes, and why it is not the platform's own."""

    backend: str
    fallback: Literal["none", "unsupported", "faulty"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """Everything measured, as it was at one moment; the reader's own copy.

    `accepted` counts requests (one per sequence) that `submit` took: those that run or wait and
    those that finished. `batch_max_tokens` is how long the requests of the newest step may get
    together. `predicted_wait_s` is what a request submitted now would wait for its first step.
    """

    sizes: FixedSizes
    stats: EngineStats
    health: EngineHealth
    histograms: EngineHistograms
    accepted: int
    batch_max_tokens: int
    failed_steps: dict[StepKind, int]
    predicted_wait_s: float
    compiled_after_ready: int
    attention: AttentionInUse | None = None  # None: nothing is kept in pages
