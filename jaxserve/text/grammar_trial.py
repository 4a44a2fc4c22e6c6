"""Does this grammar compile, within a time and a memory? Tried in a process that may die of it.

llguidance keeps to limits of its own, but a chain of many thousand rules overflows the stack, which
nothing in the process survives. So each new grammar is compiled here first. The file runs as the
program of that process too, and therefore imports nothing of jaxserve.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from llguidance.gbnf_to_lark import any_to_lark

START_S = 60.0
TRIAL_S = 5.0
MEMORY_BYTES = 4 * 2**30
# Less than a thread of the server has, so that what passes here passes there.
STACK_BYTES = 4 * 2**20

LIMITS = LLParserLimits(verbose_errors=False)

_NOTHING_LEFT = ("NoExtension", "NoExtensionBias", "InternalError")  # before the first token


Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model as llguidance wants them."""

    tokens: list[bytes]
    special_token_ids: list[int]
    eos_token_ids: list[int]

    def tokenizer(self, encode: Encode | None = None) -> LLTokenizer:
        """Its tokenizer; where a grammar leaves one text only, the tokens `encode` gives it."""
        wrapper = TokenizerWrapper(_Tokens(self, encode))
        return LLTokenizer(wrapper, n_vocab=len(self.tokens), eos_token=self.eos_token_ids)


class _Tokens:
    """What TokenizerWrapper reads."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, encode: Encode | None) -> None:
        self.tokens = vocabulary.tokens
        self.special_token_ids = vocabulary.special_token_ids
        self.eos_token_id = vocabulary.eos_token_ids[0]
        self._special = {*vocabulary.special_token_ids}
        self._ids = {t: i for i, t in enumerate(self.tokens) if t and i not in self._special}
        self._longest = max(map(len, self._ids))
        self._encode = encode

    def __call__(self, text: bytes) -> list[int]:
        if self._encode is None:
            return self._greedy(text)
        try:
            ids = self._encode(text.decode())
        except UnicodeDecodeError:
            return self._greedy(text)
        # Many a tokenizer writes a space before the first word of a text; this is a middle.
        for shorter in (ids, ids[1:]):
            spelled = b"".join(self.tokens[i] for i in shorter)
            if spelled == text and self._special.isdisjoint(shorter):
                return shorter
        return self._greedy(text)

    def _greedy(self, text: bytes) -> list[int]:
        ids, start = list[int](), 0
        while start < len(text):
            for length in range(self._longest, 0, -1):
                token_id = self._ids.get(text[start : start + length])
                if token_id is not None:
                    break
            else:
                return ids  # no token begins with this byte: what was found is a beginning
            ids.append(token_id)
            start += len(self.tokens[token_id])
        return ids


class TrialFailed(Exception):
    """A grammar that does not compile; the message says why."""


class GrammarTrial:
    """A process that compiles grammars first; a new one is started when it died of one.

    Not for two threads at once.
    """

    def __init__(self, vocabulary: Vocabulary, *, trial_s: float = TRIAL_S) -> None:
        self._vocabulary = vocabulary
        self._trial_s = trial_s
        self._process: subprocess.Popen[bytes] | None = None

    def compile(self, grammar: str) -> None:
        """Return if llguidance compiles it. Raises TrialFailed."""
        self._ask("compile", grammar)

    def to_lark(self, bnf: str) -> str:
        """GBNF or vLLM's EBNF as llguidance's Lark. Raises TrialFailed."""
        return self._ask("to_lark", bnf)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None, "both were piped"
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self._process = None

    def _ask(self, what: str, text: str) -> str:
        if self._process is None:
            self._start()
        try:
            ok, answer = self._exchange((what, text), self._trial_s)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self.close()
            raise TrialFailed(
                f"compiling it takes more than {self._trial_s:g} s, or too deep a nesting or too "
                "much memory; make it smaller or less nested"
            ) from None
        if not ok:
            raise TrialFailed(answer)
        return answer

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the server to handle
        )
        v = self._vocabulary
        try:
            self._exchange((v.tokens, v.special_token_ids, v.eos_token_ids), START_S)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            self.close()
            raise RuntimeError("the process that tries grammars does not start") from error

    def _exchange(self, message: object, within_s: float) -> tuple[bool, str]:
        process = self._process
        assert process is not None and process.stdin and process.stdout, "no process is there"
        timer = threading.Timer(within_s, process.kill)
        timer.start()
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            answer: tuple[bool, str] = pickle.load(process.stdout)
            return answer
        finally:
            timer.cancel()


def _serve(asked: BinaryIO, answers: BinaryIO) -> None:
    tokenizer = Vocabulary(*pickle.load(asked)).tokenizer()
    _answer(answers, True, "")
    while True:
        try:
            what, text = pickle.load(asked)
        except EOFError:
            return
        try:
            answer = any_to_lark(text) if what == "to_lark" else _compiled(tokenizer, text)
            _answer(answers, True, answer)
        except Exception as error:  # whatever the text makes the libraries raise is an answer
            _answer(answers, False, str(error))


def _compiled(tokenizer: LLTokenizer, grammar: str) -> str:
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    if matcher.is_error():
        raise ValueError(error_of(matcher))
    matcher.compute_bitmask()
    if matcher.stop_reason() in _NOTHING_LEFT:
        raise ValueError("no text at all is allowed by it")
    if matcher.is_error():
        raise ValueError(error_of(matcher))
    return ""


def error_of(matcher: LLMatcher) -> str:
    """What llguidance says is wrong, in a line or few."""
    return str(matcher.get_error()).removesuffix("<non-verbose/>").strip()


def _answer(answers: BinaryIO, ok: bool, text: str) -> None:
    pickle.dump((ok, text), answers)
    answers.flush()


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every platform can
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    """The process: the vocabulary comes first, then one question after the other."""
    _limit_memory()
    threading.stack_size(STACK_BYTES)
    streams: Any = (sys.stdin.buffer, sys.stdout.buffer)
    thread = threading.Thread(target=_serve, args=streams)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
