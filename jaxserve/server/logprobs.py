"""How do log-probabilities look on the wire? OpenAI's two formats, chat and completions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jaxserve.generate import TextLogprob


def chat_logprobs(entries: Iterable[TextLogprob], *, as_ids: bool) -> dict[str, Any]:
    """The chat format: one object per token, with its alternatives."""
    content = [
        {**_entry(entry, as_ids), "top_logprobs": [_entry(other, as_ids) for other in entry.top]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


class TextOffsets:
    """Where each token begins in the text of a choice, counted in characters."""

    def __init__(self, start: int = 0) -> None:
        self._num_chars = start

    def advance(self, token_bytes: bytes) -> int:
        """The offset of the next token; one that continues a character has that character's."""
        splits = self._num_chars > 0 and token_bytes[:1] and _continues(token_bytes[0])
        offset = self._num_chars - 1 if splits else self._num_chars
        self._num_chars += sum(not _continues(byte) for byte in token_bytes)
        return offset


def completion_logprobs(
    entries: Iterable[TextLogprob], offsets: TextOffsets, *, as_ids: bool
) -> dict[str, list[Any]]:
    """The completions format: four lists of one length."""
    lists: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    for entry in entries:
        lists["tokens"].append(_token(entry, as_ids))
        lists["token_logprobs"].append(entry.logprob)
        lists["top_logprobs"].append(_top(entry, as_ids))
        lists["text_offset"].append(offsets.advance(entry.token_bytes))
    return lists


def prompt_logprobs(
    token_ids: Sequence[int], scores: Sequence[TextLogprob]
) -> list[dict[str, dict[str, Any]] | None]:
    """vLLM's format: for each token of the prompt a map from ids to scores, null for the first."""
    assert len(scores) == len(token_ids) - 1, "a token of the prompt was not scored"
    return [None, *map(_ranked, scores)]


def _ranked(entry: TextLogprob) -> dict[str, dict[str, Any]]:
    ranked = [(rank, other) for rank, other in enumerate(entry.top, 1)]
    return {
        str(other.token_id): {"logprob": other.logprob, "rank": rank, "decoded_token": other.token}
        for rank, other in (*ranked, (entry.rank, entry))
    }


def _top(entry: TextLogprob, as_ids: bool) -> dict[str, float]:
    top: dict[str, float] = {}
    for other in (*entry.top, entry):
        token = _token(other, as_ids)
        # Two ids may have one text: the likelier one keeps it.
        top[token] = max(other.logprob, top.get(token, other.logprob))
    return top


def _entry(entry: TextLogprob, as_ids: bool) -> dict[str, Any]:
    return {
        "token": _token(entry, as_ids),
        "logprob": entry.logprob,
        "bytes": list(entry.token_bytes),
    }


def _token(entry: TextLogprob, as_ids: bool) -> str:
    return f"token_id:{entry.token_id}" if as_ids else entry.token


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80
