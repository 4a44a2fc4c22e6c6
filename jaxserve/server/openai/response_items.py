"""How does an answer become the items of a response? Events of the text in, events of the stream
out; what they add up to is the response that is told whole, so the two can't differ."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxserve.text.calls.events import CallArguments, CallName, Content, Event, Reasoning

Item = dict[str, Any]
Told = dict[str, Any]  # an event of the stream, without its sequence number


@dataclass(slots=True)
class ResponseItems:
    """The items so far; only the last one is open."""

    items: list[Item] = field(default_factory=list)
    _open: bool = False

    def take(self, event: Event, logprobs: list[Any]) -> Iterator[Told]:
        """The stream's events for one of the text's; `logprobs` go with text for the user."""
        if isinstance(event, CallName):
            yield from self.close("completed")
            yield from self._begin(_call(event.name))
            return
        kind, told = _KINDS[type(event)]
        if not self._open or self.items[-1]["type"] != kind:
            yield from self.close("completed")
            yield from self._begin(_message() if isinstance(event, Content) else _reasoning())
        yield from self._add(event.text, told, logprobs)

    def close(self, status: str) -> Iterator[Told]:
        """End the open item, if there is one."""
        if not self._open:
            return
        self._open = False
        item, where = self.items[-1], self._where()
        item["status"] = status
        if item["type"] == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield {"type": "response.function_call_arguments.done", **where, **done}
        else:
            part = item["content"][0]
            place = {**where, "content_index": 0}
            told = "output_text" if item["type"] == "message" else "reasoning_text"
            more = {"logprobs": part.get("logprobs", [])} if told == "output_text" else {}
            yield {"type": f"response.{told}.done", **place, "text": part["text"], **more}
            yield {"type": "response.content_part.done", **place, "part": {**part}}
        yield {
            "type": "response.output_item.done",
            "output_index": where["output_index"],
            "item": {**item},
        }

    def _begin(self, item: Item) -> Iterator[Told]:
        self.items.append(item)
        self._open = True
        where = self._where()
        shown = {**item, "content": []} if "content" in item else {**item}
        place = {"output_index": where["output_index"]}
        yield {"type": "response.output_item.added", **place, "item": shown}
        if "content" in item:
            part = {**item["content"][0]}
            added = {"type": "response.content_part.added", "content_index": 0, "part": part}
            yield {**added, **where}

    def _add(self, text: str, told: str, logprobs: list[Any]) -> Iterator[Told]:
        item = self.items[-1]
        event = {"type": f"response.{told}.delta", **self._where(), "delta": text}
        if item["type"] == "function_call":
            item["arguments"] += text
            yield event
            return
        part = item["content"][0]
        part["text"] += text
        event["content_index"] = 0
        if item["type"] == "message":
            part["logprobs"] = [*part["logprobs"], *logprobs]
            event["logprobs"] = logprobs
        yield event

    def _where(self) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}


_KINDS: dict[type, tuple[str, str]] = {
    Content: ("message", "output_text"),
    Reasoning: ("reasoning", "reasoning_text"),
    CallArguments: ("function_call", "function_call_arguments"),
}


def _message() -> Item:
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{secrets.token_hex(16)}",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [part],
    }


def _reasoning() -> Item:
    return {
        "id": f"rs_{secrets.token_hex(16)}",
        "type": "reasoning",
        "status": "in_progress",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": ""}],
    }


def _call(name: str) -> Item:
    return {
        "id": f"fc_{secrets.token_hex(16)}",
        "type": "function_call",
        "status": "in_progress",
        "call_id": f"call_{secrets.token_hex(12)}",
        "name": name,
        "arguments": "",
    }
