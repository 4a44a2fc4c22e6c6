"""How do tool calls look in a chat answer? Parses them out of the text and tells them as deltas."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from typing import Any

from jaxserve.text.tokenizer import Tokenizer
from jaxserve.text.tool_calls import (
    OPEN,
    CallArguments,
    CallName,
    Content,
    ToolCallParser,
    ToolEvent,
)

ID_ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 24

Delta = dict[str, Any]


class ToolDeltas:
    """Text in, message deltas out. Without `parallel`, calls after the first are dropped."""

    def __init__(self, *, parallel: bool) -> None:
        self._parser = ToolCallParser()
        self._parallel = parallel

    @property
    def called(self) -> bool:
        """Whether there is a call that was not cut short."""
        return self.num_complete > 0

    @property
    def num_complete(self) -> int:
        """How many calls have ended as they should."""
        return self._parser.num_complete

    def push(self, text: str) -> list[Delta]:
        return self._deltas(self._parser.push(text))

    def finish(self) -> list[Delta]:
        return self._deltas(self._parser.finish())

    def _deltas(self, events: Iterable[ToolEvent]) -> list[Delta]:
        deltas = [self._delta(event) for event in events]
        return [delta for delta in deltas if delta]

    def _delta(self, event: ToolEvent) -> Delta:
        if isinstance(event, Content):
            return {"content": event.text} if event.text else {}
        if event.index > 0 and not self._parallel:
            return {}
        if isinstance(event, CallName):
            return {"tool_calls": [_opening(event)]}
        return {"tool_calls": [_continuation(event)]} if event.text else {}


def marker_is_special(tokenizer: Tokenizer) -> bool:
    """Whether the text that opens a call would be left out with the special tokens."""
    return any(map(tokenizer.is_special, tokenizer.encode(OPEN, add_special_tokens=False)))


def joined_calls(deltas: Iterable[Delta]) -> list[dict[str, Any]]:
    """The whole calls that the deltas add up to, in order."""
    calls: list[dict[str, Any]] = []
    for part in (part for delta in deltas for part in delta.get("tool_calls", ())):
        if "id" in part:
            calls.append({"id": part["id"], "type": "function", "function": {**part["function"]}})
        else:
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return calls


def _opening(event: CallName) -> dict[str, Any]:
    call_id = "call_" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
    function = {"name": event.name, "arguments": ""}
    return {"index": event.index, "id": call_id, "type": "function", "function": function}


def _continuation(event: CallArguments) -> dict[str, Any]:
    return {"index": event.index, "function": {"arguments": event.text}}
