"""What a step is: one scheduler decision and one device call. Plain values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxserve.engine.request import Request, TokenLogprob


class Row(NamedTuple):
    """A request's share of a step: compute its tokens [start, start + num_tokens).

    `samples` says that the share reaches the end of the known tokens, so that a token is drawn.
    `takes_slot` says that the request got `slot` in this very step, so that whatever the device
    keeps per slot is stale and must be set before the step runs. `drafts` are guesses of the tokens
    after the known ones; the row computes them too, and a token is drawn after each.
    """

    request: Request
    slot: int
    start: int
    num_tokens: int
    samples: bool
    takes_slot: bool
    drafts: tuple[int, ...] = ()

    @property
    def scores_prompt(self) -> bool:
        """Whether it is asked how likely the tokens after these are; some are the prompt's."""
        if self.request.params.prompt_logprobs is None:
            return False
        return self.start + 1 < len(self.request.prompt_ids)


class Step:
    """Rows to compute together. The rows that compute one token come first."""

    __slots__ = ("num_tokens", "rows", "scores_prompts", "verifies")

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self.rows = rows
        self.num_tokens = sum([row.num_tokens for row in rows])
        self.scores_prompts = any([row.scores_prompt for row in rows])
        self.verifies = any([row.drafts for row in rows])

    @property
    def is_greedy(self) -> bool:
        """Whether every row wants its likeliest token and nothing besides."""
        return all([row.request.is_greedy for row in self.rows])

    @property
    def decode_only(self) -> bool:
        return self.num_tokens == len(self.rows)  # none computes less than one


class Sampled(NamedTuple):
    """What a row drew. `finite` is False when its logits were not all finite numbers."""

    token_id: int
    logprob: TokenLogprob | None = None
    finite: bool = True


@dataclass(frozen=True, slots=True)
class StepResult:
    """One entry per row of the step: None for the rows that do not sample, and the scores of the
    prompt tokens that follow the row's; no scores at all when no row of the step wants them.

    `further` are the draws of a row after its first: one for each of its drafts that was right,
    as `confirmed` has it. There are none at all when the step verifies nothing."""

    sampled: tuple[Sampled | None, ...]
    scores: tuple[tuple[TokenLogprob, ...], ...] = ()
    further: tuple[tuple[Sampled, ...], ...] = ()


def confirmed(drafts: Sequence[int], draws: Sequence[Sampled]) -> tuple[Sampled, ...]:
    """The draws that count, of one after the known tokens and one after each draft.

    A draw after a draft supposes that the draft was drawn. It is drawn as it would be without
    drafts, from the same logits by the same noise, so that it does not matter which were guessed:
    a draft `d` is right with the probability p(d) that it has, and where it is wrong, the token in
    its place comes from what is left of p. That is rejection sampling (Leviathan et al.,
    arXiv:2211.17192) of a proposal that is certain.
    """
    num_right = 0
    while num_right < len(drafts) and _is_right(drafts[num_right], draws[num_right]):
        num_right += 1
    return tuple(draws[: num_right + 1])


def _is_right(draft: int, draw: Sampled) -> bool:
    return draw.finite and draw.token_id == draft
