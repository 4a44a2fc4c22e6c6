"""Which token ids is this prompt, and does it fit the context?

Text that is too long to fit whatever its tokens is refused before it is tokenized, and long text
is tokenized off the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from jaxserve.errors import ContextLengthExceeded, InvalidRequest
from jaxserve.text.chat import ChatOptions
from jaxserve.text.deadline import Deadline
from jaxserve.text.tokenizer import Tokenizer, TokenSpan

T = TypeVar("T")
Side = Literal["left", "right"]

INLINE_CHARS = 2048  # tokenized on the event loop in well under a millisecond
NUM_THREADS = 2
MAX_RENDER_S = 10.0
MAX_IDS_NAMED = 8


@dataclass(frozen=True, slots=True)
class Truncation:
    """Keep at most `num_tokens` of a prompt; what is too much is cut off at `side`."""

    num_tokens: int
    side: Side = "left"

    def cut(self, token_ids: list[int]) -> list[int]:
        left = self.side == "left"
        return token_ids[-self.num_tokens :] if left else token_ids[: self.num_tokens]

    def cut_text(self, text: str, num_chars: int) -> str:
        """The text without what is far from being kept, so that it need not be tokenized."""
        return text[-num_chars:] if self.side == "left" else text[:num_chars]


class PromptEncoder:
    """Renders and encodes prompts for a context of `max_model_len` tokens, of which a prompt may
    have `max_input_tokens` (None: all that leave room for an answer)."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_model_len: int,
        max_input_tokens: int | None = None,
        max_render_s: float = MAX_RENDER_S,
    ):
        self.tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._max_input_tokens = max_input_tokens
        self._max_render_s = max_render_s
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="jaxserve-text")

    async def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: ChatOptions,
        truncation: Truncation | None = None,
    ) -> list[int]:
        return await self._in_time(lambda: self._encode_chat(messages, options, truncation))

    async def encode_text(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        param: str,
        truncation: Truncation | None = None,
    ) -> list[int]:
        def encode() -> list[int]:
            special = add_special_tokens
            return self._encode(text, special=special, param=param, truncation=truncation)

        return encode() if len(text) <= INLINE_CHARS else await self._in_thread(encode)

    async def encode_spans(
        self, text: str, *, add_special_tokens: bool, param: str
    ) -> list[TokenSpan]:
        self._refuse_long_text(text, param)
        return await self._in_thread(
            lambda: self.tokenizer.encode_spans(text, add_special_tokens=add_special_tokens)
        )

    async def render_chat(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> str:
        return await self._in_time(lambda: self.tokenizer.render_chat(messages, options))

    def max_tokens_for(self, num_prompt_tokens: int, max_tokens: int | None, *, param: str) -> int:
        """How many tokens the output may have; None asks for all that fit."""
        limit = self._max_model_len
        room = limit - num_prompt_tokens
        if room < 1:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens and the prompt has "
                f"{num_prompt_tokens}. Shorten it to at most {limit - 1} tokens.",
                param=param,
            )
        most = self._max_input_tokens
        if most is not None and num_prompt_tokens > most:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens, of which this server "
                f"takes {most} in a prompt; this one has {num_prompt_tokens}. Shorten it.",
                param=param,
            )
        if max_tokens is None:
            return room
        if max_tokens < 1:
            raise InvalidRequest(
                f"max_tokens is {max_tokens}; ask for 1 or more", param="max_tokens"
            )
        if max_tokens > room:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens, and {num_prompt_tokens} "
                f"in the prompt with max_tokens {max_tokens} make "
                f"{num_prompt_tokens + max_tokens}. Ask for at most {room}, or shorten the prompt.",
                param="max_tokens",
            )
        return max_tokens

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _in_time(self, work: Callable[[], T]) -> T:
        """`_in_thread`, for work whose time a client's messages decide."""
        deadline = Deadline()
        timer = asyncio.get_running_loop().call_later(self._max_render_s, deadline.strike)
        try:
            return await self._in_thread(lambda: deadline.run(work))
        finally:
            timer.cancel()

    def _encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: ChatOptions,
        truncation: Truncation | None,
    ) -> list[int]:
        text = self.tokenizer.render_chat(messages, options)
        special = options.add_special_tokens
        return self._encode(text, special=special, param="messages", truncation=truncation)

    def _encode(
        self, text: str, *, special: bool, param: str, truncation: Truncation | None
    ) -> list[int]:
        if truncation is None:
            self._refuse_long_text(text, param)
            return self.tokenizer.encode(text, add_special_tokens=special)
        kept = truncation.cut_text(text, self._max_chars)
        return truncation.cut(self.tokenizer.encode(kept, add_special_tokens=special))

    @property
    def _max_chars(self) -> int:
        """Text with more characters has more tokens than the context."""
        return self._max_model_len * max(self.tokenizer.longest_token, 1)

    def _refuse_long_text(self, text: str, param: str) -> None:
        longest = max(self.tokenizer.longest_token, 1)
        if len(text) > self._max_chars:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self._max_model_len} tokens and the "
                f"prompt has at least {-(-len(text) // longest)} ({len(text)} characters). "
                "Shorten it.",
                param=param,
            )


def check_token_ids(token_ids: Sequence[int], vocab_size: int, *, param: str) -> None:
    """Raise InvalidRequest that names the ids the model has no row for."""
    bad = [token_id for token_id in token_ids if not 0 <= token_id < vocab_size]
    if bad:
        named = ", ".join(map(str, bad[:MAX_IDS_NAMED])) + (", ..." if bad[MAX_IDS_NAMED:] else "")
        raise InvalidRequest(
            f"{param}: token ids must be 0 to {vocab_size - 1}, got {named}", param=param
        )
