"""What does a completion tell of its prompt? Its text again, and how likely each token was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxserve.generate import TextLogprob
from jaxserve.server.logprobs import TextOffsets, completion_logprobs
from jaxserve.text.delta import printable_token
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """A prompt as it is repeated: its text, its first token, and where each token begins in it."""

    text: str
    first: TextLogprob  # nothing comes before it, so its logprob means nothing
    starts: Sequence[int]

    def logprobs(
        self, scores: Iterable[TextLogprob], num_top: int, *, as_ids: bool
    ) -> dict[str, list[Any]]:
        """The completions format; the first token has no log-probability."""
        entries = (self.first, *(replace(entry, top=entry.top[:num_top]) for entry in scores))
        lists = completion_logprobs(entries, TextOffsets(), as_ids=as_ids)
        lists["token_logprobs"][0] = lists["top_logprobs"][0] = None
        return lists | {"text_offset": list(self.starts)}


def echo_ids(tokenizer: Tokenizer, token_ids: Sequence[int], *, skip_special_tokens: bool) -> Echo:
    """The echo of a prompt that was given as ids: their text."""
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip_special_tokens)
    text = "".join(map(detokenizer.push, token_ids)) + detokenizer.flush()
    offsets, starts = TextOffsets(), []
    for token_id in token_ids:
        hidden = skip_special_tokens and tokenizer.is_special(token_id)
        starts.append(offsets.advance(b"" if hidden else tokenizer.token_bytes(token_id)))
    return Echo(text=text, first=_unscored(tokenizer, token_ids[0]), starts=starts)


def echo_text(tokenizer: Tokenizer, text: str, token_ids: Sequence[int]) -> Echo:
    """The echo of a prompt that was given as `text` and encoded as `token_ids`."""
    offsets, starts = TextOffsets(), []
    rest = text.encode()
    for token_id in token_ids:
        shown = _shown(tokenizer, token_id, rest)
        starts.append(offsets.advance(shown))
        rest = rest[len(shown) :]
    return Echo(text=text, first=_unscored(tokenizer, token_ids[0]), starts=starts)


def _shown(tokenizer: Tokenizer, token_id: int, rest: bytes) -> bytes:
    """What of a token stands in the text: not a special one that was added, nor the space that
    some tokenizers put in front."""
    token_bytes = tokenizer.token_bytes(token_id)
    if rest.startswith(token_bytes):
        return token_bytes
    if tokenizer.is_special(token_id):
        return b""
    return token_bytes.lstrip(b" ") if rest.startswith(token_bytes.lstrip(b" ")) else token_bytes


def _unscored(tokenizer: Tokenizer, token_id: int) -> TextLogprob:
    token_bytes = tokenizer.token_bytes(token_id)
    token = printable_token(token_bytes)
    return TextLogprob(token_id=token_id, token=token, token_bytes=token_bytes, logprob=0.0)
