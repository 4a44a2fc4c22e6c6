"""How do reasoning, content and tool calls look in a chat answer? Events as message deltas."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from typing import Any

from jaxserve.text.calls.events import CallArguments, CallName, Content, Event, Reasoning

ID_ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 24

Delta = dict[str, Any]


def message_delta(event: Event) -> Delta:
    """The event as a delta of a message; reasoning under both of the names that clients read."""
    if isinstance(event, Content):
        return {"content": event.text}
    if isinstance(event, Reasoning):
        return {"reasoning_content": event.text, "reasoning": event.text}
    return {"tool_calls": [_opening(event) if isinstance(event, CallName) else _more(event)]}


def whole_message(deltas: Iterable[Delta]) -> dict[str, Any]:
    """The message that the deltas add up to."""
    told = list(deltas)
    content = "".join(delta.get("content", "") for delta in told)
    reasoning = "".join(delta.get("reasoning", "") for delta in told)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if reasoning:
        message |= {"reasoning_content": reasoning, "reasoning": reasoning}
    if calls := joined_calls(told):
        message |= {"content": content or None, "tool_calls": calls}
    return message


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


def _more(event: CallArguments) -> dict[str, Any]:
    return {"index": event.index, "function": {"arguments": event.text}}
