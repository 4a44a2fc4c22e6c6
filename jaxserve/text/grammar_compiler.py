"""Wishes in, compiled grammars out: off the event loop, within limits, each compiled once.

What can not be compiled is the client's fault, and told to it with the reason.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from llguidance import LLMatcher, LLTokenizer

from jaxserve.engine.request import EngineLimits
from jaxserve.errors import EngineBusy, InvalidRequest
from jaxserve.text.grammar import Grammar, GrammarWish, matcher_problem
from jaxserve.text.grammar_source import grammar_source
from jaxserve.text.grammar_trial import LIMITS, GrammarTrial, TrialFailed, Vocabulary
from jaxserve.text.json_schema import GrammarRefused
from jaxserve.text.tokenizer import Tokenizer

NUM_THREADS = 2
MAX_PENDING = 64
MAX_CACHED = 256
MAX_REASON_CHARS = 500


class GrammarCompiler:
    """Compiles for one vocabulary. `compile` is for one event loop; nothing starts before it."""

    def __init__(self, tokenizer: Tokenizer, limits: EngineLimits) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="jaxserve-grammar")
        self._trials: queue.LifoQueue[GrammarTrial] = queue.LifoQueue()
        self._cached: OrderedDict[GrammarWish, Grammar] = OrderedDict()
        self._pending: dict[GrammarWish, asyncio.Future[Grammar]] = {}
        self._making_tokenizer = threading.Lock()
        self._llguidance: LLTokenizer | None = None

    async def compile(self, wish: GrammarWish, *, param: str) -> Grammar:
        """The grammar of `wish`; those asked for of late are kept.

        Raises InvalidRequest about `param`, and EngineBusy.
        """
        if wish in self._cached:
            self._cached.move_to_end(wish)
            return self._cached[wish]
        try:
            # Shielded: others may wait for it too, and whoever asks again finds it.
            return await asyncio.shield(self._compiling(wish))
        except (GrammarRefused, TrialFailed) as refused:
            raise InvalidRequest(
                f"{param} can not be compiled to a grammar: {str(refused)[:MAX_REASON_CHARS]}",
                param=param,
                code="invalid_schema",
            ) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        while not self._trials.empty():
            self._trials.get().close()

    def _compiling(self, wish: GrammarWish) -> asyncio.Future[Grammar]:
        if wish in self._pending:
            return self._pending[wish]
        if len(self._pending) >= MAX_PENDING:
            raise EngineBusy(f"{MAX_PENDING} grammars are being compiled; try again later")
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._compile, wish)
        self._pending[wish] = future
        future.add_done_callback(lambda done: self._keep(wish, done))
        return future

    def _keep(self, wish: GrammarWish, done: asyncio.Future[Grammar]) -> None:
        del self._pending[wish]
        if not done.cancelled() and done.exception() is None:
            self._cached[wish] = done.result()
            if len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)

    def _compile(self, wish: GrammarWish) -> Grammar:
        tokenizer = self._tokenizer_of_llguidance()
        try:
            trial = self._trials.get_nowait()
        except queue.Empty:
            trial = GrammarTrial(self._vocabulary())
        try:
            source = grammar_source(wish, self._tokenizer, to_lark=trial.to_lark)
            trial.compile(source)
        finally:
            self._trials.put(trial)
        matcher = LLMatcher(tokenizer, source, log_level=0, limits=LIMITS)
        problem = matcher_problem(matcher)
        if problem:
            raise GrammarRefused(problem)
        return Grammar(matcher, mask_bytes=-(-self._limits.vocab_size // 8))

    def _tokenizer_of_llguidance(self) -> LLTokenizer:
        with self._making_tokenizer:
            if self._llguidance is None:
                self._llguidance = self._vocabulary().tokenizer(self._encode)
            return self._llguidance

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _vocabulary(self) -> Vocabulary:
        eos_ids = sorted(self._limits.eos_token_ids)
        if not eos_ids:
            raise GrammarRefused("this model has no end of sequence")
        ids = range(self._limits.vocab_size)
        special = {i for i in ids if self._tokenizer.is_special(i)} | {*eos_ids}
        return Vocabulary([*map(self._tokenizer.token_bytes, ids)], sorted(special), eos_ids)
