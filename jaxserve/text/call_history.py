"""How does a chat template want the calls of past turns? Found out by trying.

Most take arguments as objects; some (DeepSeek) put text together and want JSON; some (Mistral)
refuse ids that have not nine letters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from jaxserve.text.messages import Message

SHORT_ID_CHARS = 9

_NAME, _KEY, _RESULT = "probe_name", "probe_key", "probe result"


@dataclass(frozen=True, slots=True)
class CallForm:
    """What the template takes; the default is what most take."""

    short_ids: bool = False
    json_arguments: bool = False

    def shape(self, message: Message) -> Message:
        """The message with its calls, or its reference to one, as the template takes them."""
        shaped = {**message}
        if self.short_ids and isinstance(message.get("tool_call_id"), str):
            shaped["tool_call_id"] = _short(message["tool_call_id"])
        if message.get("tool_calls"):
            shaped["tool_calls"] = [self._call(call) for call in message["tool_calls"]]
        return shaped

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        if self.json_arguments and not isinstance(function["arguments"], str):
            arguments = json.dumps(function["arguments"], ensure_ascii=False)
            call = {**call, "function": {**function, "arguments": arguments}}
        if self.short_ids and isinstance(call.get("id"), str):
            call = {**call, "id": _short(call["id"])}
        return call


AS_MOST = CallForm()


def probed_call_form(
    render: Callable[[list[Message]], str], shape: Callable[[Message], Message]
) -> CallForm:
    """The first form in which `render` shows a call, after `shape` gave messages the rest.

    The default if there is none.
    """
    call = {
        "id": "call_0123456789abcdefABCDEFGH",
        "type": "function",
        "function": {"name": _NAME, "arguments": {_KEY: 1}},
    }
    turn: list[Message] = [
        {"role": "user", "content": "probe"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": _RESULT, "tool_call_id": call["id"], "name": _NAME},
    ]
    for choices in product((False, True), repeat=2):
        form = CallForm(*choices)
        if _shows(render, [form.shape(shape(message)) for message in turn]):
            return form
    return AS_MOST


def _shows(render: Callable[[list[Message]], str], turn: list[Message]) -> bool:
    try:
        text = render(turn)
    except Exception:  # refusing this form is an answer too
        return False
    return _NAME in text and _KEY in text and f"'{_KEY}'" not in text and "None" not in text


def _short(call_id: str) -> str:
    """Nine letters or digits that stand for the id in the whole conversation."""
    end = call_id[-SHORT_ID_CHARS:]
    if len(end) == SHORT_ID_CHARS and end.isalnum() and end.isascii():
        return end
    return hashlib.sha1(call_id.encode()).hexdigest()[:SHORT_ID_CHARS]
