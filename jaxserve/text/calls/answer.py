"""What does a model's answer tell? Reasoning, content and calls, read by its formats.

Reasoning is taken off first, so a call within it is no call.
"""

from __future__ import annotations

from typing import Protocol

from jaxserve.text.calls.call_reader import Schemas
from jaxserve.text.calls.channels import ChannelParser
from jaxserve.text.calls.description import ReasoningFormat, ToolFormat
from jaxserve.text.calls.events import (
    Content,
    Event,
    Reasoning,
    joined,
)
from jaxserve.text.calls.parser import ToolCallParser
from jaxserve.text.calls.reasoning import Piece, ReasoningParser, Thought, opened_by


class AnswerParser(Protocol):
    """Text in, events out; `num_complete` counts calls that were not cut short."""

    @property
    def takes_all(self) -> bool:
        """Whether all text is content as it comes, so that nothing has to be read."""

    @property
    def num_complete(self) -> int: ...
    @property
    def inside_reasoning(self) -> bool: ...
    def push(self, text: str) -> list[Event]: ...
    def finish(self) -> list[Event]: ...


class PlainParser:
    """Text that is reasoning first, perhaps, and then content with calls in it, perhaps."""

    def __init__(self, reasoning: ReasoningParser | None, calls: ToolCallParser | None) -> None:
        self._reasoning = reasoning
        self._calls = calls

    @property
    def takes_all(self) -> bool:
        return self._reasoning is None and self._calls is None

    @property
    def num_complete(self) -> int:
        return self._calls.num_complete if self._calls else 0

    @property
    def inside_reasoning(self) -> bool:
        return self._reasoning is not None and self._reasoning.inside

    def push(self, text: str) -> list[Event]:
        if self._reasoning is None:
            return self._read(text)
        return joined(self._tell(self._reasoning.push(text)))

    def finish(self) -> list[Event]:
        left = [] if self._reasoning is None else self._tell(self._reasoning.finish())
        return joined([*left, *(self._calls.finish() if self._calls else ())])

    def _tell(self, pieces: list[Piece]) -> list[Event]:
        events: list[Event] = []
        for piece in pieces:
            if isinstance(piece, Thought):
                events.append(Reasoning(piece.text))
            else:
                events += self._read(piece.text)
        return events

    def _read(self, text: str) -> list[Event]:
        if self._calls is None:
            return [Content(text)] if text else []
        return self._calls.push(text)


def answer_parser(
    tools: ToolFormat | None,
    reasoning: ReasoningFormat | None,
    *,
    prompt: str,
    schemas: Schemas | None,
    whole: bool = False,
) -> AnswerParser:
    """What reads the continuation of `prompt`, of which the end is enough.

    `schemas` are the parameters of the tools that may be called; None when no calls are read.
    With `whole` calls are told when they are complete, each at once.
    """
    if any(form is not None and form.channels for form in (tools, reasoning)):
        return ChannelParser(reads_calls=schemas is not None, whole=whole)
    thoughts = None
    if reasoning is not None:
        thoughts = ReasoningParser(reasoning, inside=opened_by(prompt, reasoning))
    calls = None
    if tools is not None and schemas is not None:
        calls = ToolCallParser(tools, schemas, whole=whole)
    return PlainParser(thoughts, calls)
