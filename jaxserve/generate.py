"""Text in, deltas of text out: encode, submit, detokenize, match stop strings.

Knows no HTTP and no JAX. It talks to the engine in token ids. Everything but `Engine.submit` and
`Engine.abort` belongs to one event loop: the one that runs when the generator is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jaxserve.engine.request import (
    EngineLimits,
    FinishReason,
    Request,
    SamplingParams,
    TokenDelta,
)
from jaxserve.errors import EngineFailed, InvalidRequest, JaxserveError
from jaxserve.text.chat import ChatOptions
from jaxserve.text.delta import TextDelta, TextLogprob, merge_deltas
from jaxserve.text.detokenizer import Detokenizer, TokenTexts
from jaxserve.text.grammar import Grammar, GrammarWish
from jaxserve.text.grammar_compiler import GrammarCompiler
from jaxserve.text.output import OutputText
from jaxserve.text.prompt import PromptEncoder, Truncation, check_token_ids
from jaxserve.text.tokenizer import Tokenizer, TokenSpan

__all__ = [
    "ChatOptions",
    "Engine",
    "TextDelta",
    "TextGenerator",
    "TextLogprob",
    "TextRequest",
    "TextStream",
    "Truncation",
]

MAX_STOP_CHARS = 4096  # of one stop string; matching prepares a table of that size
MAX_SEED = 2**64 - 1

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """The narrow interface to the engine loop; plain values only.

    `submit` and `abort` may be called from any thread and return at once. `submit` raises
    RequestError for what can never be served, EngineBusy and EngineFailed. Deltas go to
    `deliver`, called on the engine's thread with all deltas of a step together. `reason` is what
    the request counts as.
    """

    limits: EngineLimits

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None: ...
    def submit(self, request: Request) -> None: ...
    def abort(self, request_id: str, reason: FinishReason = FinishReason.ABORT) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A prompt to continue `n` times. `params.max_tokens` comes from `max_tokens_for`.

    Sample i draws with seed + i, so each can be had again alone. `id` need not be unique.
    """

    id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    n: int = 1
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    shown_ids: frozenset[int] = frozenset()  # special tokens that are shown all the same
    cache_salt: str = ""
    adapter: int = 0
    grammar: Grammar | None = None


class TextGenerator:
    """Turns prompts into streams of text over an engine and its tokenizer."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.limits = engine.limits
        self._engine = engine
        self._encoder = PromptEncoder(
            tokenizer,
            max_model_len=engine.limits.max_model_len,
            max_input_tokens=engine.limits.max_input_tokens,
        )
        self._grammars = GrammarCompiler(tokenizer, engine.limits)
        self._texts = TokenTexts(tokenizer)
        self._serial = itertools.count()
        # Weak, so that a stream nobody holds any more is collected, which aborts it.
        self._streams: weakref.WeakValueDictionary[str, TextStream] = weakref.WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the engine; deltas arrive on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._engine.start(self._deliver)

    def close(self) -> None:
        """Let go of the threads. The engine is closed by whoever made it."""
        self._encoder.close()
        self._grammars.close()

    async def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: ChatOptions | None = None,
        truncation: Truncation | None = None,
    ) -> list[int]:
        """The prompt of a conversation, through the model's own chat template.

        Raises InvalidRequest with the template's words when it refuses, and, unless it may be
        truncated, ContextLengthExceeded.
        """
        return await self._encoder.encode_chat(messages, options or ChatOptions(), truncation)

    async def encode_text(
        self,
        text: str,
        *,
        add_special_tokens: bool = True,
        param: str = "prompt",
        truncation: Truncation | None = None,
    ) -> list[int]:
        """The token ids of `text`; what is huge is refused (ContextLengthExceeded) or, when it may
        be truncated, cut before it is encoded."""
        return await self._encoder.encode_text(
            text, add_special_tokens=add_special_tokens, param=param, truncation=truncation
        )

    async def encode_spans(
        self, text: str, *, add_special_tokens: bool = True, param: str = "prompt"
    ) -> list[TokenSpan]:
        """The tokens of `text` with their places in it; raises as `encode_text` does."""
        return await self._encoder.encode_spans(
            text, add_special_tokens=add_special_tokens, param=param
        )

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> str:
        """The text of a conversation; raises InvalidRequest when the template refuses it."""
        return await self._encoder.render_chat(messages, options or ChatOptions())

    async def compile_grammar(self, wish: GrammarWish, *, param: str) -> Grammar:
        """The form to hold an output to; raises InvalidRequest about `param`, EngineBusy."""
        return await self._grammars.compile(wish, param=param)

    def max_tokens_for(
        self, num_prompt_tokens: int, max_tokens: int | None, *, param: str = "prompt"
    ) -> int:
        """How long the output may get: what was asked for, or (None) what the context has left.

        Raises ContextLengthExceeded when the prompt (`param`) or the sum does not fit.
        """
        return self._encoder.max_tokens_for(num_prompt_tokens, max_tokens, param=param)

    def submit(self, request: TextRequest, *, param: str = "prompt") -> tuple[TextStream, ...]:
        """Hand `n` sequences to the engine now; one stream per sample, in order.

        Raises RequestError, EngineBusy or EngineFailed before anything runs; `param` is what an
        error about the prompt names. A stream that is dropped or cancelled is aborted.
        """
        self._check(request, param)
        seed = secrets.randbits(63) if request.params.seed is None else request.params.seed
        streams: list[TextStream] = []
        try:
            for index in range(request.n):
                streams.append(self._submit_one(request, index, _sample_seed(seed, index)))
        except JaxserveError:
            for stream in streams:
                stream.cancel()
            raise
        return tuple(streams)

    def _submit_one(self, request: TextRequest, index: int, seed: int) -> TextStream:
        engine_request = Request(
            id=f"{request.id}:{next(self._serial)}",
            prompt_ids=request.prompt_ids,
            params=replace(request.params, seed=seed),
            cache_salt=request.cache_salt,
            adapter=request.adapter,
            constraint=request.grammar.start() if request.grammar else None,
        )
        self._engine.submit(engine_request)
        stream = TextStream(self._engine, engine_request, self._new_output(request), index)
        self._streams[engine_request.id] = stream  # in time: deltas come through the event loop
        return stream

    def _new_output(self, request: TextRequest) -> OutputText:
        return OutputText(
            Detokenizer(
                self.tokenizer,
                skip_special_tokens=request.skip_special_tokens,
                shown_ids=request.shown_ids,
                texts=self._texts,
            ),
            request.stop,
            include_stop=request.include_stop_str_in_output,
            min_tokens=request.params.min_tokens,
        )

    def _check(self, request: TextRequest, param: str) -> None:
        params, vocab_size = request.params, self.limits.vocab_size
        if not request.prompt_ids:
            raise InvalidRequest("the prompt has no tokens", param=param)
        check_token_ids(request.prompt_ids, vocab_size, param=param)
        check_token_ids([i for i, _ in params.logit_bias], vocab_size, param="logit_bias")
        check_token_ids(sorted(params.stop_token_ids), vocab_size, param="stop_token_ids")
        allowed = sorted(params.allowed_token_ids or ())
        check_token_ids(allowed, vocab_size, param="allowed_token_ids")
        self.max_tokens_for(len(request.prompt_ids), params.max_tokens, param=param)
        for name in ("logprobs", "prompt_logprobs"):
            asked, limit = getattr(params, name) or 0, self.limits.max_logprobs
            if asked > limit:
                raise InvalidRequest(f"{name} is {asked}; at most {limit} can be had", param=name)
        if request.n < 1:
            raise InvalidRequest(f"n is {request.n}; ask for 1 or more", param="n")
        if any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in request.stop):
            raise InvalidRequest(
                f"a stop string has 1 to {MAX_STOP_CHARS} characters", param="stop"
            )

    def _deliver(self, deltas: Sequence[TokenDelta]) -> None:
        """Runs on the engine's thread: one hop to the event loop per step."""
        assert self._loop is not None, "deltas before start"
        # RuntimeError: the event loop has closed, and everyone who could read a delta is gone.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._dispatch, tuple(deltas))

    def _dispatch(self, deltas: Sequence[TokenDelta]) -> None:
        for delta in deltas:
            stream = self._streams.get(delta.request_id)
            if stream is not None:
                stream.take(delta)


class TextStream:
    """The text of one sequence as an async iterator of TextDelta; the last has a finish_reason.

    Deltas that pile up while nobody reads are merged, none is lost. `cancel`, `aclose`, or
    dropping the stream aborts the request in the engine. Iterating raises EngineFailed when the
    engine ends the request.
    """

    def __init__(self, engine: Engine, request: Request, output: OutputText, index: int):
        self.index = index
        self.seed = request.params.seed
        self.num_prompt_tokens = len(request.prompt_ids)
        self._request_id = request.id
        self._engine = engine
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._pending: list[TextDelta] = []
        self._error: EngineFailed | None = None
        self._ended = False

    def __aiter__(self) -> AsyncIterator[TextDelta]:
        return self

    async def __anext__(self) -> TextDelta:
        while (delta := self.read_now()) is None:
            if self._ended:
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        return delta

    def read_now(self) -> TextDelta | None:
        """What has come and was not read, or None; raises what iterating raises."""
        if not self._pending:
            if self._error is not None:
                raise self._error
            return None
        merged = merge_deltas(self._pending)
        self._pending = []
        return merged

    async def read_all(self) -> TextDelta:
        """Wait for the end and return everything as one delta; cancels when the wait is cut."""
        try:
            return merge_deltas([delta async for delta in self])
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Abort in the engine, unless the sequence has ended; a waiting reader gets `abort`."""
        if not self._ended:
            self._engine.abort(self._request_id)
            self._put(TextDelta(finish_reason=FinishReason.ABORT))

    async def aclose(self) -> None:
        self.cancel()

    def __del__(self) -> None:
        # The collector may run on the engine's thread with its lock held: abort from elsewhere.
        if not self._ended:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._engine.abort, self._request_id)

    def signal(self, readable: asyncio.Event) -> None:
        """Set `readable` from now on whenever there is something to read."""
        self._readable = readable

    def take(self, delta: TokenDelta) -> None:
        """Add what a step gave. Only the generator calls this, on the event loop."""
        if self._ended:
            return
        try:
            if delta.finish_reason in (FinishReason.ERROR, FinishReason.ABORT):
                self._fail(delta.error or "the server ended the request")
            else:
                piece = self._output.add(delta)
                self._put(piece)
                if piece.finish_reason and not delta.finish_reason:  # at a stop string
                    self._engine.abort(self._request_id, piece.finish_reason)
        except Exception as error:  # the other sequences of this step must get their deltas
            logger.exception("cannot make text of the output of request %s", self._request_id)
            self._engine.abort(self._request_id, FinishReason.ERROR)
            self._fail(f"cannot make text of the output: {type(error).__name__}")

    def _put(self, delta: TextDelta) -> None:
        self._pending.append(delta)
        self._ended = delta.finish_reason is not None
        self._readable.set()

    def _fail(self, message: str) -> None:
        self._error = EngineFailed(message)
        self._ended = True
        self._readable.set()


async def in_turn(streams: Sequence[TextStream]) -> AsyncGenerator[tuple[int, TextDelta], None]:
    """What each stream gives, with its index, as it comes; raises what iterating one raises.

    What comes while the reader is busy stays with the streams, which merge it.
    """
    readable = asyncio.Event()
    for stream in streams:
        stream.signal(readable)
    running = dict(enumerate(streams))
    while running:
        readable.clear()
        was_idle = True
        for index, stream in [*running.items()]:
            delta = stream.read_now()
            if delta is None:
                continue
            if delta.finish_reason is not None:
                del running[index]
            was_idle = False
            yield index, delta
        if was_idle:
            await readable.wait()


def _sample_seed(seed: int, index: int) -> int:
    seed += index
    return seed if seed <= MAX_SEED else seed - MAX_SEED - 1
