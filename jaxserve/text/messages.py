"""What do OpenAI's chat messages look like to a chat template?

Templates expect strings or lists of parts, objects for the arguments of tool calls, and no nulls.
Knows no template; `chat` says which form one wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxserve.errors import InvalidRequest

TEXT_PARTS = ("text", "input_text", "output_text", "refusal")

Message = dict[str, Any]


def normalize_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages without nulls; `content` is a string, or a list of parts {type: text, text}.

    Raises InvalidRequest that names the message and what is wrong with it.
    """
    if not messages:
        raise InvalidRequest("messages is empty; send at least one", param="messages")
    return [_normalize(message, f"messages[{i}]") for i, message in enumerate(messages)]


def join_parts(message: Message) -> Message:
    """For templates that want a string: text parts joined by newlines."""
    content = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": "\n".join(part["text"] for part in content)}


def split_parts(message: Message) -> Message:
    """For templates that only know parts: a string as one part."""
    content = message["content"]
    if isinstance(content, list):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def merge_leading_system(messages: list[Message]) -> list[Message]:
    """The same conversation with the system messages it starts with made one."""
    num_system = 0
    while num_system < len(messages) and messages[num_system]["role"] == "system":
        num_system += 1
    if num_system < 2:
        return messages
    texts = [join_parts(message)["content"] for message in messages[:num_system]]
    return [{**messages[0], "content": "\n\n".join(texts)}, *messages[num_system:]]


def _normalize(message: Mapping[str, Any], where: str) -> Message:
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"{where} must be an object", param=where)
    clean = {key: value for key, value in message.items() if value is not None}
    if not isinstance(clean.get("role"), str):
        raise InvalidRequest(f"{where}.role must be a string", param=f"{where}.role")
    clean["content"] = _content(clean.get("content", ""), f"{where}.content")
    _mirror_reasoning(clean)
    if calls := clean.pop("tool_calls", None):
        clean["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    return clean


def _content(content: Any, where: str) -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} must be a string, a list of parts or null", param=where)
    return [_part(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, str]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        raise InvalidRequest(f"{where} must be an object with a type", param=where)
    if kind not in TEXT_PARTS:
        raise InvalidRequest(
            f"{where} is of type {kind[:40]!r}; this model reads text parts only",
            param=where,
            code="unsupported_value",
        )
    key = "refusal" if kind == "refusal" else "text"
    if not isinstance(part.get(key), str):
        raise InvalidRequest(f"{where}.{key} must be a string", param=f"{where}.{key}")
    return {"type": "text", "text": part[key]}


def _mirror_reasoning(message: Message) -> None:
    # Clients send either name back and templates read either, so both are there.
    reasoning = message.get("reasoning", message.get("reasoning_content"))
    if reasoning is not None:
        message["reasoning"] = message["reasoning_content"] = reasoning


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise InvalidRequest(f"{where} must be a list", param=where)
    return [_tool_call(call, f"{where}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{where}.function.name must be a string", param=where)
    arguments = _arguments(function.get("arguments"))
    return {**call, "function": {**function, "arguments": arguments}}


def _arguments(arguments: Any) -> Any:
    """As an object where they are one; what a model once wrote wrongly stays the string it is."""
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        parsed = json.loads(arguments) if arguments.strip() else None
    except (ValueError, RecursionError):
        return arguments
    if parsed is None:
        return {}
    return parsed if isinstance(parsed, dict) else arguments
