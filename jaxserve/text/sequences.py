"""Which token ids does a model read for a text or a pair of texts, cut to what fits?

Special tokens are the tokenizer's, and stay when text is cut. Nothing is refused by its number of
characters: an unknown word of any length may be one token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from jaxserve.errors import CheckpointError
from jaxserve.text.prompt import INLINE_CHARS, NUM_THREADS
from jaxserve.text.tokenizer import FolderTokenizer

T = TypeVar("T")
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Sequence:
    """What the model reads; `token_types` are 1 in the second text of a pair."""

    token_ids: tuple[int, ...]
    token_types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Tokens to keep, and from which end the others are taken. Special tokens are kept too."""

    max_tokens: int
    side: Side = "right"


class SequenceEncoder:
    """Encodes texts through a tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: FolderTokenizer, *, lowercase: bool = False):
        backend = tokenizer.backend
        if backend is None:
            raise CheckpointError(
                "the tokenizer of this model cannot cut texts or join pairs; a folder with a "
                "tokenizer.json is needed to embed and classify"
            )
        self._backend: Any = backend
        self._lowercase = lowercase
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="jaxserve-text")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def encode(
        self, text: str, *, cut: Cut | None = None, add_special_tokens: bool = True
    ) -> Sequence:
        return await self._run(
            lambda: self._encode(text, cut, add_special_tokens), num_chars=len(text)
        )

    async def encode_pair(self, first: str, second: str, *, cut: Cut | None = None) -> Sequence:
        """Both texts as one; where they are cut, the longer one first."""
        return await self._run(
            lambda: self._encode_pair(first, second, cut), num_chars=len(first) + len(second)
        )

    def _encode(self, text: str, cut: Cut | None, add_special_tokens: bool) -> Sequence:
        if cut is None or not add_special_tokens:
            encoding = self._plain(text, add_special_tokens)
            if cut is not None:
                encoding.truncate(cut.max_tokens, 0, cut.side)
        else:
            encoding = self._plain(text)
            _cut(encoding, self._room(cut, is_pair=False), cut.side)
            encoding = self._backend.post_process(encoding, None, True)
        return Sequence(tuple(encoding.ids))

    def _encode_pair(self, first: str, second: str, cut: Cut | None) -> Sequence:
        one, other = self._plain(first), self._plain(second)
        if cut is not None:
            lengths = _shares(len(one.ids), len(other.ids), self._room(cut, is_pair=True))
            for encoding, length in zip((one, other), lengths, strict=True):
                _cut(encoding, length, cut.side)
        both = self._backend.post_process(one, other, True)
        return Sequence(tuple(both.ids), tuple(both.type_ids))

    def _plain(self, text: str, add_special_tokens: bool = False) -> Any:
        text = text.lower() if self._lowercase else text
        return self._backend.encode(text, add_special_tokens=add_special_tokens)

    def _room(self, cut: Cut, *, is_pair: bool) -> int:
        return max(0, cut.max_tokens - self._backend.num_special_tokens_to_add(is_pair))

    async def _run(self, work: Callable[[], T], *, num_chars: int) -> T:
        if num_chars <= INLINE_CHARS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _cut(encoding: Any, length: int, side: Side) -> None:
    if len(encoding.ids) > length:
        encoding.truncate(length, 0, side)


def _shares(one: int, other: int, room: int) -> tuple[int, int]:
    """How many tokens of each are kept when the longer one loses a token at a time."""
    if one + other <= room:
        return one, other
    shorter = min(one, other, room // 2)
    return (shorter, room - shorter) if one <= other else (room - shorter, shorter)
