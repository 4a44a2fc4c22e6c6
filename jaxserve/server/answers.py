"""How does a running generation become an answer? Whole or as events, from the same pieces.

A piece is one entry of `choices` in one event. A dialect says how pieces look and how the pieces
of a choice add up, so a streamed answer and a whole one can not differ.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from jaxserve.generate import TextDelta
from jaxserve.server.generation import Generation
from jaxserve.server.schema import StreamOptions
from jaxserve.server.sse import Event

Piece = dict[str, Any]


def finishing(delta: TextDelta) -> dict[str, Any]:
    """The fields of the piece that finishes a choice."""
    assert delta.finish_reason is not None
    return {"finish_reason": delta.finish_reason.value, "stop_reason": delta.stop_reason}


def collected_ids(pieces: list[Piece]) -> list[int]:
    return [token_id for piece in pieces for token_id in piece.get("token_ids", ())]


class RunningAnswer(Protocol):
    """A generation that runs, and how its dialect tells it; either whole or as events, once."""

    generation: Generation

    def headers(self) -> dict[str, str]:
        """Asked for when the answer is whole, or before its first event."""

    async def whole(self) -> Any: ...
    def events(self) -> AsyncGenerator[Event, None]: ...


class Choice(Protocol):
    """One sequence in a dialect."""

    def pieces(self, delta: TextDelta) -> Iterable[Piece]:
        """What the delta shows; the piece that finishes the choice shows nothing else."""

    def whole(self, pieces: list[Piece]) -> Piece:
        """All pieces as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all events of an answer have in common."""

    id: str
    object: str
    model: str
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, choices: list[Piece], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **more,
        }

    def opening(self) -> bytes:
        """The JSON of every event up to its choices."""
        return orjson.dumps(self.around([])).removesuffix(b"]}")


def event_of(opening: bytes, piece: Piece, more: dict[str, Any]) -> Event:
    """What `Frame.around([piece], **more)` is, of which all but the piece is the same each time."""
    ending = b"]," + orjson.dumps(more)[1:] if more else b"]}"
    return orjson.Fragment(opening + orjson.dumps(piece) + ending)


@dataclass(slots=True, kw_only=True)
class Answer:
    """A running generation with what it takes to tell it."""

    frame: Frame
    generation: Generation
    choices: list[Choice]
    options: StreamOptions
    once: dict[str, Any] = field(default_factory=dict)  # told beside the first choices
    at_end: Callable[[], dict[str, Any]] = dict  # told beside the choices of a whole answer
    num_kept: int  # of each prompt's samples; fewer than all are told only when whole

    def headers(self) -> dict[str, str]:
        return {}

    async def whole(self) -> dict[str, Any]:
        """The answer when everything has been generated."""
        told: list[list[Piece]] = [[] for _ in self.choices]
        async with aclosing(self.generation.deltas()) as deltas:
            async for index, delta in deltas:
                told[index].extend(self.choices[index].pieces(delta))
        choices = [self.choices[index].whole(told[index]) for index in self._kept()]
        told_choices = [choice | {"index": index} for index, choice in enumerate(choices)]
        usage = self.generation.usage.as_json()
        return self.frame.around(told_choices, **self.once, **self.at_end(), usage=usage)

    def _kept(self) -> Sequence[int]:
        if self.num_kept == self.generation.num_samples:
            return range(len(self.choices))
        return self.generation.best(self.num_kept)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer as it comes; with `include_usage` the last event has the usage alone."""
        opening, once = self.frame.opening(), self.once
        async with aclosing(self.generation.deltas()) as deltas:
            async for index, delta in deltas:
                pieces = list(self.choices[index].pieces(delta))  # told before it is counted
                usage = self._running_usage()
                for piece in pieces:
                    yield event_of(opening, piece, once | usage)
                    once = {}
        if self.options.include_usage:
            yield self.frame.around([], usage=self.generation.usage.as_json())

    def _running_usage(self) -> dict[str, Any]:
        if not self.options.include_usage:
            return {}
        running = self.generation.usage.as_json() if self.options.continuous_usage_stats else None
        return {"usage": running}
