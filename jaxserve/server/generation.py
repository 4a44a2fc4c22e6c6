"""What do the sequences of one HTTP request give, in the order in which it comes?

Interleaves the streams of all prompts and samples, counts usage, and ends all of them together.
Knows no wire format.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from jaxserve.engine.request import FinishReason
from jaxserve.errors import EngineFailed, InvalidRequest, JaxserveError
from jaxserve.generate import (
    TextDelta,
    TextGenerator,
    TextLogprob,
    TextRequest,
    TextStream,
    in_turn,
)
from jaxserve.server.errors import BrokenOff

Indexed = tuple[int, TextDelta]


@dataclass(slots=True)
class Usage:
    """Tokens so far; a prompt counts once however many samples it has."""

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int | None = None  # None where none can be told apart

    def as_json(self) -> dict[str, object]:
        usage: dict[str, object] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
        if self.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage


class Generation:
    """Running sequences; index = position of the prompt * n + sample.

    With `only_scores` the one token that is drawn after each prompt is not told.
    """

    def __init__(
        self,
        streams: Sequence[TextStream],
        requests: Sequence[TextRequest],
        *,
        only_scores: bool = False,
    ) -> None:
        self._streams = streams
        self._only_scores = only_scores
        self._sums = [0.0] * len(streams)  # of the log-probabilities, where they were asked for
        self._counts = [0] * len(streams)
        self._has_begun = [False] * len(streams)
        self._num_ended = 0
        self.queued_s = 0.0  # the longest that one of them waited for its first step
        self.num_samples = requests[0].n
        self.prompt_logprobs: list[tuple[TextLogprob, ...]] = [()] * len(requests)
        self._cached = [0] * len(requests)
        self.usage = Usage(sum(len(request.prompt_ids) for request in requests))

    @property
    def seeds(self) -> list[int | None]:
        """What each sequence draws with."""
        return [stream.seed for stream in self._streams]

    @property
    def has_ended(self) -> bool:
        """Whether every sequence came to an end of its own."""
        return self._num_ended == len(self._streams)

    def cancel(self) -> None:
        """End every sequence that has not ended; may be called at any time, any number of times."""
        for stream in self._streams:
            stream.cancel()

    async def deltas(self) -> AsyncGenerator[Indexed, None]:
        """What each sequence gives, with its index; raises BrokenOff when one ends unfinished."""
        try:
            async with aclosing(in_turn(self._streams)) as indexed:
                async for index, delta in indexed:
                    if delta.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
                        raise EngineFailed("the request was aborted")
                    told = _without_output(delta) if self._only_scores else delta
                    self._count(index, told)
                    self._num_ended += told.finish_reason is not None
                    yield index, told
        except EngineFailed as error:
            raise BrokenOff(str(error)) from error
        finally:
            self.cancel()

    def _count(self, index: int, delta: TextDelta) -> None:
        self.usage.completion_tokens += len(delta.token_ids)
        if delta.logprobs:
            self._sums[index] += sum(entry.logprob for entry in delta.logprobs)
            self._counts[index] += len(delta.logprobs)
        if not self._has_begun[index]:
            self._has_begun[index] = True
            self._count_first(index, delta)

    def _count_first(self, index: int, delta: TextDelta) -> None:
        """What only the first delta of a sequence tells."""
        self.queued_s = max(self.queued_s, delta.queued_s)
        prompt, sample = divmod(index, self.num_samples)
        if sample == 0:  # the others find the first one's pages
            self._cached[prompt] = delta.num_cached_tokens
            self.usage.cached_tokens = sum(self._cached)
            self.prompt_logprobs[prompt] = delta.prompt_logprobs

    def best(self, num_kept: int) -> list[int]:
        """The indices of the `num_kept` likeliest samples of each prompt, the likeliest first."""
        best: list[int] = []
        for first in range(0, len(self._streams), self.num_samples):
            samples = range(first, first + self.num_samples)
            best += sorted(samples, key=lambda index: -self._mean_logprob(index))[:num_kept]
        return best

    def _mean_logprob(self, index: int) -> float:
        return self._sums[index] / max(self._counts[index], 1)


def start_generation(
    generator: TextGenerator,
    requests: Sequence[TextRequest],
    *,
    param: str,
    only_scores: bool = False,
) -> Generation:
    """Submit every request, or none: raises what `TextGenerator.submit` raises."""
    num_sequences = sum(request.n for request in requests)
    if num_sequences > generator.limits.max_queued_requests:
        raise InvalidRequest(
            f"{len(requests)} prompts with n {requests[0].n} are {num_sequences} sequences, more "
            f"than the {generator.limits.max_queued_requests} that may wait; send fewer at once",
            param="n" if len(requests) == 1 else param,
        )
    streams: list[TextStream] = []
    try:
        for request in requests:
            streams.extend(generator.submit(request, param=param))
    except JaxserveError:
        for stream in streams:
            stream.cancel()
        raise
    return Generation(streams, requests, only_scores=only_scores)


def _without_output(delta: TextDelta) -> TextDelta:
    ended = None if delta.finish_reason is None else FinishReason.LENGTH
    return TextDelta(prompt_logprobs=delta.prompt_logprobs, finish_reason=ended)
