"""How does a running generation read in Ollama's words? One object, or a line per piece.

Both ways tell the same pieces; the last line of a stream, or the one object, has the numbers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from jaxserve.generate import TextDelta
from jaxserve.server.generation import Generation
from jaxserve.server.logprobs import chat_logprobs
from jaxserve.server.timing import Stopwatch
from jaxserve.text.calls.events import CallArguments, CallName, Content, Reasoning
from jaxserve.text.calls.reader import AnswerReader

Piece = dict[str, Any]

_FIELDS = {Content: "response", Reasoning: "thinking"}


def rfc3339(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Shape(Protocol):
    """What generate and chat each make of a sequence."""

    def pieces(self, delta: TextDelta) -> Iterable[Piece]:
        """What the delta shows."""

    def joined(self, pieces: Iterable[Piece]) -> Piece:
        """Pieces, or none of them, as one."""

    def ending(self) -> Piece:
        """What the last line has beside that."""


class Completion:
    """The shape of `/api/generate`. `prompt_ids` None: no context is told."""

    def __init__(self, prompt_ids: list[int] | None, reader: AnswerReader) -> None:
        self._reader = reader
        self._context = None if prompt_ids is None else [*prompt_ids]

    def pieces(self, delta: TextDelta) -> Iterator[Piece]:
        if self._context is not None:
            self._context += delta.token_ids
        beside = _logprobs(delta)
        for event in self._reader.read(delta):
            if isinstance(event, Content | Reasoning):
                yield {"response": "", _FIELDS[type(event)]: event.text, **beside}
                beside = {}
        if beside:
            yield {"response": "", **beside}

    def joined(self, pieces: Iterable[Piece]) -> Piece:
        told = list(pieces)
        return {**_joined_text(told, "response"), **_joined_logprobs(told)}

    def ending(self) -> Piece:
        return {} if self._context is None else {"context": self._context}


class Message:
    """The shape of `/api/chat`; a tool call is told at once, when it is complete."""

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader

    def pieces(self, delta: TextDelta) -> Iterator[Piece]:
        beside = _logprobs(delta)
        for message in self._messages(delta):
            yield {"message": message, **beside}
            beside = {}
        if beside:
            yield {"message": _message(""), **beside}

    def joined(self, pieces: Iterable[Piece]) -> Piece:
        told = list(pieces)
        messages = [piece["message"] for piece in told]
        whole = {"role": "assistant", **_joined_text(messages, "content")}
        if calls := [call for message in messages for call in message.get("tool_calls", ())]:
            whole["tool_calls"] = calls
        return {"message": whole, **_joined_logprobs(told)}

    def ending(self) -> Piece:
        return {}

    def _messages(self, delta: TextDelta) -> Iterator[dict[str, Any]]:
        name = ""
        for event in self._reader.read(delta):
            if isinstance(event, CallName):
                name = event.name
            elif isinstance(event, CallArguments):  # all of them: the reader tells whole calls
                yield _message_with(name, event.text)
            elif isinstance(event, Reasoning):
                yield _message("") | {"thinking": event.text}
            else:
                yield _message(event.text)


@dataclass(slots=True, kw_only=True)
class OllamaAnswer:
    """A running answer."""

    generation: Generation
    shape: Shape
    model: str
    watch: Stopwatch

    def headers(self) -> dict[str, str]:
        return {}

    async def whole(self) -> dict[str, Any]:
        pieces: list[Piece] = []
        reason = ""
        async with aclosing(self.generation.deltas()) as deltas:
            async for _, delta in deltas:
                self.watch.got_output()
                pieces += self.shape.pieces(delta)
                reason = delta.finish_reason.value if delta.finish_reason else ""
        return self._last(self.shape.joined(pieces), reason)

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(self.generation.deltas()) as deltas:
            async for _, delta in deltas:
                self.watch.got_output()
                for piece in self.shape.pieces(delta):
                    yield framed(self.model, piece, done=False)
                if delta.finish_reason is not None:
                    yield self._last(self.shape.joined([]), delta.finish_reason.value)

    def _last(self, piece: Piece, reason: str) -> dict[str, Any]:
        watch, usage = self.watch, self.generation.usage
        numbers = {
            "done_reason": reason,
            **self.shape.ending(),
            "total_duration": watch.total_ns,
            "load_duration": 0,  # the model was there before the server took requests
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": watch.prompt_ns,
            "eval_count": usage.completion_tokens,
            "eval_duration": watch.output_ns,
        }
        return framed(self.model, piece, done=True) | numbers


def framed(model: str, piece: Piece, *, done: bool) -> dict[str, Any]:
    """A line: the piece between what all lines have."""
    return {"model": model, "created_at": rfc3339(datetime.now(UTC)), **piece, "done": done}


def _message(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _message_with(name: str, written: str) -> dict[str, Any]:
    """A call with its arguments as an object; what is no object is told as the model wrote it."""
    try:
        arguments = json.loads(written)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        quoted = json.dumps(name, ensure_ascii=False)
        return _message(f'{{"name": {quoted}, "arguments": {written}}}')
    return _message("") | {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def _joined_text(pieces: list[Piece], field: str) -> Piece:
    """What the pieces say, and what they think if they do."""
    thinking = "".join(piece.get("thinking", "") for piece in pieces)
    said = {field: "".join(piece[field] for piece in pieces)}
    return said | ({"thinking": thinking} if thinking else {})


def _logprobs(delta: TextDelta) -> Piece:
    if not delta.logprobs:
        return {}
    return {"logprobs": chat_logprobs(delta.logprobs, as_ids=False)["content"]}


def _joined_logprobs(pieces: list[Piece]) -> Piece:
    entries = [entry for piece in pieces for entry in piece.get("logprobs", ())]
    return {"logprobs": entries} if entries else {}
