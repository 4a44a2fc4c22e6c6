"""Texts in, vectors or logits out: encode, submit, gather, compare.

The counterpart of `generate.py` for models that embed or classify. Knows no HTTP and no JAX.
Everything belongs to one event loop: the one that runs when the pooler is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxserve.engine.pooling.request import PooledDelta, PooledRequest
from jaxserve.engine.request import TokenDelta
from jaxserve.errors import ContextLengthExceeded, EngineBusy, EngineFailed, InvalidRequest
from jaxserve.generate import Engine
from jaxserve.text.prompt import check_token_ids
from jaxserve.text.sentence_folder import SentenceFacts
from jaxserve.text.sequences import Cut, Sequence, SequenceEncoder
from jaxserve.text.tokenizer import FolderTokenizer, TokenSpan

MAX_AT_ONCE = 256  # of one call in the engine; more wait here, so that others get their turn

Task = Literal["embed", "classify"]
Vector = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledTask:
    """What a model that pools is for. `num_outputs` counts the numbers of a vector, or labels;
    `normalized` says that vectors come at unit length."""

    task: Task
    num_outputs: int
    normalized: bool
    facts: SentenceFacts
    labels: tuple[str, ...] = ()


class Unanswered(EngineFailed):
    """A text that the engine had taken ended without a vector."""


class TextPooler:
    """Turns texts into vectors or logits over an engine and its tokenizer."""

    def __init__(self, engine: Engine, tokenizer: FolderTokenizer, model: PooledTask):
        self.tokenizer = tokenizer
        self.limits = engine.limits
        self.model = model
        self._engine = engine
        self._encoder = SequenceEncoder(tokenizer, lowercase=model.facts.lowercase)
        self._serial = itertools.count()
        self._futures: dict[str, asyncio.Future[Vector]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the engine; vectors arrive on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._engine.start(self._deliver)

    def close(self) -> None:
        """Let go of the encoding threads. The engine is closed by whoever made it."""
        self._encoder.close()

    async def encode(
        self,
        text: str | Many[int],
        *,
        cut: Cut | None = None,
        prompt_name: str | None = None,
        add_special_tokens: bool = True,
        param: str = "input",
    ) -> Sequence:
        """What the model reads for `text`, with the prompt of that name, or the default one,
        before it; token ids are taken as they are.

        Raises InvalidRequest, and ContextLengthExceeded for what is too long and not to be cut.
        """
        prompt = self._prompt(prompt_name)
        if isinstance(text, str):
            sequence = await self._encoder.encode(
                prompt + text, cut=cut, add_special_tokens=add_special_tokens
            )
        else:
            sequence = Sequence(tuple(text))
            check_token_ids(sequence.token_ids, self.limits.vocab_size, param=param)
            if cut is not None:
                kept = cut.max_tokens
                ids = sequence.token_ids
                sequence = Sequence(ids[:kept] if cut.side == "right" else ids[-kept:])
        self._refuse_misfit(sequence, param)
        return sequence

    async def encode_text(
        self, text: str, *, add_special_tokens: bool = True, param: str = "prompt"
    ) -> list[int]:
        """The token ids of `text`, of any length and without a prompt."""
        sequence = await self._encoder.encode(text, add_special_tokens=add_special_tokens)
        return list(sequence.token_ids)

    async def encode_spans(
        self, text: str, *, add_special_tokens: bool = True, param: str = "prompt"
    ) -> list[TokenSpan]:
        """The tokens of `text` with their places in it."""
        return await asyncio.to_thread(
            self.tokenizer.encode_spans, text, add_special_tokens=add_special_tokens
        )

    async def encode_pair(
        self, first: str, second: str, *, cut: Cut | None = None, param: str = "documents"
    ) -> Sequence:
        """What the model reads for two texts together; raises as `encode` does."""
        sequence = await self._encoder.encode_pair(first, second, cut=cut)
        self._refuse_misfit(sequence, param)
        return sequence

    def cut_to(self, max_tokens: int | None, side: Literal["left", "right"] = "right") -> Cut:
        """A cut to what was asked for, or (None) to what the model reads."""
        limit = self.limits.max_model_len
        return Cut(max_tokens=limit if max_tokens is None else min(max_tokens, limit), side=side)

    async def run(self, id: str, sequences: Many[Sequence]) -> list[Vector]:
        """f32[num_outputs] for each sequence, in order.

        Raises EngineBusy when the engine has no place for the first one, Unanswered, and
        EngineFailed. All end when the wait is cut.
        """
        gate = asyncio.Semaphore(MAX_AT_ONCE)
        running: dict[str, asyncio.Future[Vector]] = {}
        try:
            for sequence in sequences:
                await gate.acquire()
                request_id = f"{id}:{next(self._serial)}"
                future = await self._submit(request_id, sequence, list(running.values()))
                future.add_done_callback(lambda _: gate.release())
                running[request_id] = future
            answers = await asyncio.gather(*running.values(), return_exceptions=True)
        finally:
            self._abort(running)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def _prompt(self, name: str | None) -> str:
        prompts = self.model.facts.prompts
        name = name if name is not None else self.model.facts.default_prompt
        if name is not None and name not in prompts:
            known = f"its prompts are {', '.join(prompts)}" if prompts else "it has none"
            raise InvalidRequest(
                f"this model knows no prompt {name[:200]!r}; {known}", param="prompt_name"
            )
        return "" if name is None else prompts[name]

    def _refuse_misfit(self, sequence: Sequence, param: str) -> None:
        num_tokens, limit = len(sequence.token_ids), self.limits.max_model_len
        if not num_tokens:
            raise InvalidRequest(f"{param} has no tokens", param=param)
        check_token_ids(sequence.token_ids, self.limits.vocab_size, param=param)
        if num_tokens > limit:
            raise ContextLengthExceeded(
                f"This model reads at most {limit} tokens at once and {param} has {num_tokens}. "
                "Shorten it, or ask for it to be cut (truncate_prompt_tokens, or truncate).",
                param=param,
            )

    async def _submit(
        self, request_id: str, sequence: Sequence, before: Many[asyncio.Future[Vector]]
    ) -> asyncio.Future[Vector]:
        request = PooledRequest(
            id=request_id, prompt_ids=sequence.token_ids, token_types=sequence.token_types
        )
        while True:
            try:
                self._engine.submit(request)
                break
            except EngineBusy:
                unfinished = [future for future in before if not future.done()]
                if not unfinished:
                    raise
                await asyncio.wait(unfinished, return_when=asyncio.FIRST_COMPLETED)
        future = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future  # in time: vectors come through the event loop
        return future

    def _abort(self, running: dict[str, asyncio.Future[Vector]]) -> None:
        for request_id, future in running.items():
            self._futures.pop(request_id, None)
            if not future.done() or future.cancelled():
                self._engine.abort(request_id)
                future.cancel()

    def _deliver(self, deltas: Many[TokenDelta]) -> None:
        """Runs on the engine's thread: one hop to the event loop per step."""
        assert self._loop is not None, "deltas before start"
        # RuntimeError: the event loop has closed, and everyone who could read a vector is gone.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._dispatch, tuple(deltas))

    def _dispatch(self, deltas: Many[TokenDelta]) -> None:
        for delta in deltas:
            future = self._futures.pop(delta.request_id, None)
            if future is None or future.done():
                continue
            if isinstance(delta, PooledDelta):
                future.set_result(delta.vector)
            else:
                future.set_exception(Unanswered(delta.error or "the server ended the request"))
