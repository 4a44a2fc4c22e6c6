"""What is a request told of a step that was committed?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxserve.engine.request import FinishReason, Request, TokenDelta, TokenLogprob
from jaxserve.engine.step import Sampled


class End(NamedTuple):
    """Why a request ends with its newest token, if it does."""

    reason: FinishReason | None = None
    stop_token_id: int | None = None
    by_eos: bool = False
    error: str | None = None


GOES_ON = End()


def delta_of(request: Request, draws: Sequence[Sampled], end: End) -> TokenDelta:
    """What a request got: draws that it took in already, the last of which may end it."""
    ends_inside = end.reason is FinishReason.STOP and not end.by_eos and end.stop_token_id is None
    is_first = len(request.output_ids) == len(draws)
    scores: tuple[TokenLogprob, ...] = ()
    if request.params.logprobs is not None:
        scores = tuple([each.logprob for each in draws if each.logprob is not None])
    token_ids: tuple[int, ...] = (draws[0].token_id,)
    if len(draws) > 1:
        token_ids = tuple([each.token_id for each in draws])
    return TokenDelta(
        request_id=request.id,
        token_ids=token_ids,
        logprobs=scores,
        finish_reason=end.reason,
        stop_token_id=end.stop_token_id,
        last_is_output=ends_inside,
        num_cached_tokens=request.num_cached_tokens or 0,
        prompt_logprobs=tuple(request.prompt_scores) if is_first else (),
    )


def last_delta(request: Request, *, error: str | None = None) -> TokenDelta:
    """What ends a request without a token."""
    return TokenDelta(
        request_id=request.id,
        finish_reason=request.finish_reason,
        num_cached_tokens=request.num_cached_tokens or 0,
        error=error,
    )
