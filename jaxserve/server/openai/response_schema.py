"""What does a valid request to /v1/responses look like, and which conversation does it mean?

Nothing is stored, so what refers to an earlier response is refused. Everything else is said in the
words of the chat route, which then knows what is valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from jaxserve.errors import InvalidRequest, RequestError
from jaxserve.server.fields import (
    Bool,
    Object,
    PositiveInt,
    Probability,
    Str,
    Temperature,
    WireModel,
    wrong_type,
)
from jaxserve.server.ignored import unread
from jaxserve.server.parsing import parse_body, unsupported, wrong
from jaxserve.server.refusals import Refusal, is_empty, one_of
from jaxserve.server.schema import Alternatives, ChatBody, Effort, parse_chat
from jaxserve.server.tool_choice import read_tool_choice

_STATELESS = "responses are not stored: send the whole conversation in input"

REFUSED = (
    Refusal("previous_response_id", _STATELESS),
    Refusal("conversation", _STATELESS),
    Refusal("background", "wait for the answer, or stream it", one_of(False)),
    Refusal("prompt", "stored prompts are not offered: send input and instructions", is_empty),
    Refusal("max_tool_calls", "use parallel_tool_calls"),
    Refusal("context_management", _STATELESS, is_empty),
)

LOGPROBS = "message.output_text.logprobs"
CHAT_NAMES = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""What the chat route calls the fields of this one, for its errors."""


def _input(value: Any) -> Any:
    if not isinstance(value, str | list) or not value:
        raise wrong_type("a string or a list of items, and not empty")
    return value


def _tool_choice(value: Any) -> Any:
    """As it was given, since the response tells it again."""
    read_tool_choice(value)
    return value


class TextOptions(WireModel):
    """How the answer's text looks."""

    format: Object = Field(default_factory=dict)
    verbosity: Str = ""


class ReasoningOptions(WireModel):
    """How much to think. There are no summaries."""

    effort: Effort | None = None
    summary: Str = ""


class ResponsesBody(WireModel):
    """The body of POST /v1/responses."""

    input: Annotated[
        Any, BeforeValidator(_input, json_schema_input_type=str | list[dict[str, Any]])
    ]
    model: Str = ""
    instructions: Str = ""
    max_output_tokens: PositiveInt | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stream: Bool = False
    tools: list[Object] = Field(default_factory=list)
    tool_choice: Annotated[
        Any, BeforeValidator(_tool_choice, json_schema_input_type=str | dict[str, Any])
    ] = "auto"
    parallel_tool_calls: Bool = True
    text: TextOptions = TextOptions()
    reasoning: ReasoningOptions = ReasoningOptions()
    truncation: Literal["auto", "disabled"] = "disabled"
    top_logprobs: Alternatives = 0
    include: list[Str] = Field(default_factory=list)
    metadata: Object = Field(default_factory=dict)
    store: Bool = False  # what is true of every answer here, whatever is asked

    @property
    def tells_logprobs(self) -> bool:
        return LOGPROBS in self.include or self.top_logprobs > 0

    @property
    def drops_format(self) -> bool:
        """Whether `text.format` holds nothing: an answer that must be a call has no text.

        Clients send both, with one schema for the two of them.
        """
        must_call = read_tool_choice(self.tool_choice).is_forced
        return must_call and self.text.format.get("type", "text") != "text"

    def as_chat(self) -> ChatBody:
        """The same wish as a body of the chat route; raises InvalidRequest in this one's words."""
        asked = {
            "model": self.model,
            "messages": list(self._messages()),
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stream": self.stream,
            "tools": [_chat_tool(tool, index) for index, tool in enumerate(self.tools)],
            "tool_choice": _chat_choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": None if self.drops_format else _chat_format(self.text.format),
            "reasoning_effort": self.reasoning.effort,
            "truncate_prompt_tokens": -1 if self.truncation == "auto" else None,
            "logprobs": self.tells_logprobs,
            "top_logprobs": self.top_logprobs,
        }
        try:
            return parse_chat(asked)
        except RequestError as error:
            raise in_own_words(error) from None

    def _messages(self) -> Iterator[dict[str, Any]]:
        if self.instructions:
            yield {"role": "system", "content": self.instructions}
        if isinstance(self.input, str):
            yield {"role": "user", "content": self.input}
        else:
            yield from _messages_of(self.input)


def parse_responses(raw: Mapping[str, Any]) -> ResponsesBody:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    return parse_body(raw, ResponsesBody, REFUSED)


def ignored_fields(raw: Mapping[str, Any], body: ResponsesBody) -> Iterator[str]:
    """The names of what was accepted and is not applied."""
    judged = ResponsesBody.model_fields.keys() | {refusal.field for refusal in REFUSED}
    yield from unread(raw, judged)
    if raw.get("store"):
        yield "store"
    if body.drops_format:
        yield "text.format"
    for part in ("text.verbosity", "reasoning.summary"):
        outer, _, inner = part.partition(".")
        if isinstance(raw.get(outer), dict) and raw[outer].get(inner):
            yield part


def in_own_words(error: RequestError) -> RequestError:
    """An error of the chat route with the names that this one has for its fields."""
    param = error.param or ""
    for theirs, ours in CHAT_NAMES.items():
        if param == theirs or param.startswith((theirs + ".", theirs + "[")):
            told = str(error).replace(theirs, ours, 1)
            param = ours + param.removeprefix(theirs)
            return InvalidRequest(told, param=param, code=error.code)
    return error


def _messages_of(items: list[Any]) -> Iterator[dict[str, Any]]:
    """Neighbouring items of the assistant are one message, as the chat template wants it."""
    said: dict[str, Any] | None = None
    for index, item in enumerate(items):
        message = _message_of(item, f"input[{index}]")
        if message["role"] == "assistant" and said is not None:
            _join(said, message)
            continue
        if said is not None:
            yield said
        said = message if message["role"] == "assistant" else None
        if said is None:
            yield message
    if said is not None:
        yield said


def _join(said: dict[str, Any], more: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content"):
        if more.get(name):
            said[name] = (said.get(name) or "") + more[name]
    if more.get("tool_calls"):
        said["tool_calls"] = [*said.get("tool_calls", []), *more["tool_calls"]]


def _message_of(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise wrong(where, "must be an object")
    match item.get("type") or "message":
        case "message":
            return _spoken(item, where)
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            return {"role": "assistant", "content": "", "tool_calls": [call]}
        case "function_call_output":
            output = item.get("output")
            text = _text(output, f"{where}.output")
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": text}
        case "reasoning":
            text = _text(item.get("content") or [], f"{where}.content")
            return {"role": "assistant", "content": "", "reasoning_content": text}
        case other:
            raise unsupported(
                f"{where}.type",
                f"is {str(other)[:40]!r}; known are message, function_call, function_call_output "
                "and reasoning",
            )


def _spoken(item: dict[str, Any], where: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise wrong(f"{where}.role", "must be user, assistant, system or developer")
    return {"role": role, "content": _text(item.get("content", ""), f"{where}.content")}


def _text(content: Any, where: str) -> str:
    """The text of a string or of parts, joined as the chat route joins them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(where, "must be a string or a list of parts")
    texts = []
    for index, part in enumerate(content):
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise unsupported(f"{where}[{index}]", "must be a part with text: no other can be read")
        texts.append(text)
    return "\n".join(texts)


def _chat_tool(tool: dict[str, Any], index: int) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise unsupported(
            f"tools[{index}].type", f"is {tool.get('type')!r}; only functions can be called"
        )
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _chat_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _chat_format(form: dict[str, Any]) -> dict[str, Any] | None:
    if form.get("type") != "json_schema":
        return form or None
    return {"type": "json_schema", "json_schema": {k: v for k, v in form.items() if k != "type"}}
