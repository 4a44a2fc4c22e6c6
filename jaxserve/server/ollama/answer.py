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
from jaxserve.server.tool_deltas import ToolDeltas, joined_calls
from jaxserve.text.tool_calls import OPEN

Piece = dict[str, Any]


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

    def __init__(self, prompt_ids: list[int] | None) -> None:
        self._context = None if prompt_ids is None else [*prompt_ids]

    def pieces(self, delta: TextDelta) -> Iterator[Piece]:
        if self._context is not None:
            self._context += delta.token_ids
        if delta.text or delta.logprobs:
            yield {"response": delta.text, **_logprobs(delta)}

    def joined(self, pieces: Iterable[Piece]) -> Piece:
        told = list(pieces)
        return {"response": "".join(piece["response"] for piece in told), **_joined_logprobs(told)}

    def ending(self) -> Piece:
        return {} if self._context is None else {"context": self._context}


class Message:
    """The shape of `/api/chat`; a tool call is told at once, when it is complete."""

    def __init__(self, *, parses_calls: bool) -> None:
        self._tools = ToolDeltas(parallel=True) if parses_calls else None
        self._call_deltas: list[dict[str, Any]] = []
        self._num_told = 0

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
        whole = _message("".join(message["content"] for message in messages))
        if calls := [call for message in messages for call in message.get("tool_calls", ())]:
            whole["tool_calls"] = calls
        return {"message": whole, **_joined_logprobs(told)}

    def ending(self) -> Piece:
        return {}

    def _messages(self, delta: TextDelta) -> Iterator[dict[str, Any]]:
        if self._tools is None:
            if delta.text:
                yield _message(delta.text)
            return
        ends = delta.finish_reason is not None
        for part in self._tools.push(delta.text) + (self._tools.finish() if ends else []):
            if "content" in part:
                yield _message(part["content"])
            else:
                self._call_deltas.append(part)
        yield from self._calls(self._tools.num_complete, ends=ends)

    def _calls(self, num_complete: int, *, ends: bool) -> Iterator[dict[str, Any]]:
        if not ends and num_complete == self._num_told:
            return
        calls = joined_calls(self._call_deltas)
        for call in calls[self._num_told : num_complete]:
            yield _message_with(call["function"])
        if ends:
            for call in calls[num_complete:]:
                yield _message(_as_written(call["function"]))
        self._num_told = num_complete


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


def _message_with(function: dict[str, str]) -> dict[str, Any]:
    """A call with its arguments as an object; what is no object is told as the model wrote it."""
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        return _message(_as_written(function))
    call = {"function": {"name": function["name"], "arguments": arguments}}
    return _message("") | {"tool_calls": [call]}


def _as_written(function: dict[str, str]) -> str:
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'{OPEN}{{"name": {name}, "arguments": {function["arguments"]}'


def _logprobs(delta: TextDelta) -> Piece:
    if not delta.logprobs:
        return {}
    return {"logprobs": chat_logprobs(delta.logprobs, as_ids=False)["content"]}


def _joined_logprobs(pieces: list[Piece]) -> Piece:
    entries = [entry for piece in pieces for entry in piece.get("logprobs", ())]
    return {"logprobs": entries} if entries else {}
