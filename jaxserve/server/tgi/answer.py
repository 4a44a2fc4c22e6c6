"""How does a running generation read in TGI's own words? Whole or token by token.

Both ways tell the same entries: an answer is made of the tokens that a stream would have sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from jaxserve.engine.request import FinishReason
from jaxserve.generate import TextDelta, TextLogprob
from jaxserve.server.errors import BrokenOff
from jaxserve.server.generation import Generation
from jaxserve.server.tgi.schema import Parameters
from jaxserve.server.timing import Stopwatch
from jaxserve.text.delta import printable_token
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.tokenizer import Tokenizer

Token = dict[str, Any]


class TgiSequence:
    """One sequence, told token by token; it keeps what it told."""

    def __init__(self, tokenizer: Tokenizer, seed: int | None) -> None:
        self._tokenizer = tokenizer
        # Its own, since a token's text has no stop string cut off and shows special tokens.
        self._detokenizer = Detokenizer(tokenizer, skip_special_tokens=False)
        self._sum_logprobs = 0.0
        self.seed = seed
        self.text = ""
        self.tokens: list[Token] = []
        self.top_tokens: list[list[Token]] = []
        self.num_tokens = 0
        self.finish_reason = ""

    @property
    def mean_logprob(self) -> float:
        return self._sum_logprobs / max(len(self.tokens), 1)

    def add(self, delta: TextDelta) -> int:
        """Take in a piece; how many tokens it told. Tokens are told where logprobs came."""
        self.text += delta.text
        self.num_tokens += len(delta.token_ids)
        for entry in delta.logprobs:
            self._sum_logprobs += entry.logprob
            self.tokens.append(self._told(entry, self._detokenizer.push(entry.token_id)))
            self.top_tokens.append([self._told(top, _shown(top)) for top in entry.top])
        if delta.finish_reason is not None:
            self.finish_reason = _finish_reason(delta)
            if self.tokens:
                self.tokens[-1]["text"] += self._detokenizer.flush()
        return len(delta.logprobs)

    def _told(self, entry: TextLogprob, text: str) -> Token:
        special = self._tokenizer.is_special(entry.token_id)
        return {"id": entry.token_id, "text": text, "logprob": entry.logprob, "special": special}


@dataclass(slots=True, kw_only=True)
class TgiAnswer:
    """A running answer to `inputs`; `opening` is told before what was generated."""

    generation: Generation
    sequences: list[TgiSequence]
    parameters: Parameters
    watch: Stopwatch
    tokenizer: Tokenizer
    prompt_ids: Sequence[int]
    num_input_chars: int
    compute_type: str
    opening: str = ""
    in_list: bool = False  # TGI's `/` answers with a list of one
    _ended: bool = field(default=False, init=False)

    def headers(self) -> dict[str, str]:
        """The kind of device; once the answer is whole, also what it took, in milliseconds."""
        headers = {"x-compute-type": self.compute_type}
        if not self._ended:
            return headers
        usage, watch = self.generation.usage, self.watch
        queued_ns = int(self.generation.queued_s * 1e9)
        inference_ns = watch.total_ns - watch.validation_ns - queued_ns
        return headers | {
            "x-compute-time": _ms(watch.total_ns),
            "x-compute-characters": str(self.num_input_chars),
            "x-total-time": _ms(watch.total_ns),
            "x-validation-time": _ms(watch.validation_ns),
            "x-queue-time": _ms(queued_ns),
            "x-inference-time": _ms(inference_ns),
            "x-time-per-token": _ms(inference_ns // max(usage.completion_tokens, 1)),
            "x-prompt-tokens": str(usage.prompt_tokens),
            "x-generated-tokens": str(usage.completion_tokens),
        }

    async def whole(self) -> Any:
        async with aclosing(self.generation.deltas()) as deltas:
            async for index, delta in deltas:
                self.watch.got_output()
                self.sequences[index].add(delta)
        self._ended = True
        best, *others = sorted(self.sequences, key=lambda each: -each.mean_logprob)
        answer: dict[str, Any] = {"generated_text": self.opening + best.text}
        if self.parameters.details:
            answer["details"] = self._details(best)
            if others:
                answer["details"]["best_of_sequences"] = [*map(self._sequence, others)]
        return [answer] if self.in_list else answer

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """An event per token; the last one has the text and, when asked for, the details."""
        (sequence,) = self.sequences
        async with aclosing(self.generation.deltas()) as deltas:
            async for _, delta in deltas:
                end = sequence.add(delta)
                first = len(sequence.tokens) - end
                for index in range(first, len(sequence.tokens)):
                    is_last = index + 1 == len(sequence.tokens) and bool(sequence.finish_reason)
                    yield self._event(sequence, index) | self._ending(sequence, is_last)
                if sequence.finish_reason and not end:
                    raise BrokenOff("the generation ended without a last token")

    def _event(self, sequence: TgiSequence, index: int) -> dict[str, Any]:
        event: dict[str, Any] = {"index": index + 1, "token": sequence.tokens[index]}
        if self.parameters.top_n_tokens:
            event["top_tokens"] = sequence.top_tokens[index]
        return event

    def _ending(self, sequence: TgiSequence, is_last: bool) -> dict[str, Any]:
        if not is_last:
            return {"generated_text": None, "details": None}
        details = _outcome(sequence) | {"input_length": self.generation.usage.prompt_tokens}
        return {
            "generated_text": self.opening + sequence.text,
            "details": details if self.parameters.details else None,
        }

    def _details(self, sequence: TgiSequence) -> dict[str, Any]:
        details = _outcome(sequence) | {"prefill": self._prefill(), "tokens": sequence.tokens}
        if self.parameters.top_n_tokens:
            details["top_tokens"] = sequence.top_tokens
        return details

    def _prefill(self) -> list[Token]:
        """The prompt's tokens, where they were asked for; the first has no log-probability."""
        (scores,) = self.generation.prompt_logprobs
        if not self.parameters.decoder_input_details:
            return []
        first, *_ = self.prompt_ids
        text = printable_token(self.tokenizer.token_bytes(first))
        scored = [{"id": e.token_id, "text": _shown(e), "logprob": e.logprob} for e in scores]
        return [{"id": first, "text": text, "logprob": None}, *scored]

    def _sequence(self, sequence: TgiSequence) -> dict[str, Any]:
        return {"generated_text": self.opening + sequence.text, **self._details(sequence)}


def _outcome(sequence: TgiSequence) -> dict[str, Any]:
    return {
        "finish_reason": sequence.finish_reason,
        "generated_tokens": sequence.num_tokens,
        "seed": sequence.seed,
    }


def _finish_reason(delta: TextDelta) -> str:
    if delta.finish_reason is FinishReason.LENGTH:
        return "length"
    return "stop_sequence" if isinstance(delta.stop_reason, str) else "eos_token"


def _shown(entry: TextLogprob) -> str:
    return entry.token_bytes.decode(errors="replace")


def _ms(duration_ns: int) -> str:
    return str(round(duration_ns / 1e6))


def sequences_of(
    generation: Generation, tokenizer: Tokenizer, *, seeded: bool
) -> list[TgiSequence]:
    """A sequence for each of the generation's; greedy ones have no seed to tell."""
    seeds: Iterable[int | None] = generation.seeds
    return [TgiSequence(tokenizer, seed if seeded else None) for seed in seeds]
