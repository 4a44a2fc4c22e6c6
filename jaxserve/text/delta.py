"""What is a piece of a sequence's text, with its tokens and their log-probabilities?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxserve.engine.request import FinishReason, TokenLogprob
from jaxserve.text.tokenizer import Tokenizer

MIN_LOGPROB = -9999.0  # what minus infinity is shown as; JSON has no infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLogprob:
    """One token's log-probability with its text and true bytes.

    `token` has the `bytes:\\xe2\\x80` form when the token is not whole characters.
    """

    token_id: int
    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[TextLogprob, ...] = ()
    rank: int | None = None  # of a prompt's token among all; 1 is the likeliest


class TextDelta(NamedTuple):
    """A piece of a sequence's text; `finish_reason` is set on the last one and only there.

    `prompt_logprobs` come with the first: one for each token of the prompt but its first.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()
    token_ends: tuple[int, ...] = ()  # characters of `text` that were shown after each token
    logprobs: tuple[TextLogprob, ...] = ()
    prompt_logprobs: tuple[TextLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None  # matched stop string or stop token id; None for EOS
    num_cached_tokens: int = 0
    queued_s: float = 0.0


def merge_deltas(deltas: Sequence[TextDelta]) -> TextDelta:
    """Consecutive deltas of one sequence as one."""
    if len(deltas) == 1:
        return deltas[0]
    return TextDelta(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        token_ends=tuple(_shifted_ends(deltas)),
        logprobs=tuple(entry for delta in deltas for entry in delta.logprobs),
        prompt_logprobs=tuple(entry for delta in deltas for entry in delta.prompt_logprobs),
        finish_reason=deltas[-1].finish_reason,
        stop_reason=deltas[-1].stop_reason,
        num_cached_tokens=max((delta.num_cached_tokens for delta in deltas), default=0),
        queued_s=max((delta.queued_s for delta in deltas), default=0.0),
    )


def _shifted_ends(deltas: Sequence[TextDelta]) -> Iterator[int]:
    start = 0
    for delta in deltas:
        yield from (start + end for end in delta.token_ends)
        start += len(delta.text)


def text_logprob(tokenizer: Tokenizer, entry: TokenLogprob) -> TextLogprob:
    """The engine's entry with token text and bytes; minus infinity becomes `MIN_LOGPROB`."""
    top = tuple(_text_logprob(tokenizer, token_id, logprob) for token_id, logprob in entry.top)
    told = _text_logprob(tokenizer, entry.token_id, entry.logprob)
    return replace(told, top=top, rank=entry.rank)


def printable_token(token_bytes: bytes) -> str:
    """The token as text, or in the `bytes:\\xe2\\x80` form when it is not whole characters."""
    try:
        return token_bytes.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token_bytes)


def _text_logprob(tokenizer: Tokenizer, token_id: int, logprob: float) -> TextLogprob:
    assert not math.isnan(logprob), "the engine ends rows whose logits are not numbers"
    token_bytes = tokenizer.token_bytes(token_id)
    return TextLogprob(
        token_id=token_id,
        token=printable_token(token_bytes),
        token_bytes=token_bytes,
        logprob=max(logprob, MIN_LOGPROB),
    )
