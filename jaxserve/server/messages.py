"""What does a valid conversation look like from outside? Messages and the tools beside them.

Checks outer shapes only and keeps the fields it does not know, since a chat template may read
them; parts and tool calls are the text layer's business.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from jaxserve.server.fields import Bool, Object, Str, WireModel, wrong_type, wrong_value


def _content(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong_type("a string, a list of content parts or null")
    return value


class ChatMessage(WireModel):
    """One message."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[Str, Field(min_length=1)]
    content: Annotated[Any, BeforeValidator(_content)] = ""
    tool_calls: Annotated[list[Any], Field(strict=True, default_factory=list)]


class Function(WireModel):
    """What a tool of type function declares."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[Str, Field(min_length=1)]
    description: Str = ""
    parameters: Object = Field(default_factory=dict)
    strict: Bool = False


def _tool_type(value: Any) -> Any:
    if value != "function":
        raise PydanticCustomError("unsupported_value", "must be function: no other tool can be run")
    return value


class Tool(WireModel):
    """A function the model may call."""

    type: Annotated[Str, BeforeValidator(_tool_type)] = "function"
    function: Function

    def plain(self) -> dict[str, Any]:
        """As the template gets it; a function without parameters takes an empty object."""
        parameters = self.function.parameters or {"type": "object", "properties": {}}
        function = self.function.model_dump(exclude_unset=True)
        return {"type": self.type, "function": {**function, "parameters": parameters}}


def distinct(tools: list[Tool]) -> list[Tool]:
    """The tools, if no two have one name."""
    names = [tool.function.name for tool in tools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise wrong_value(f"must have distinct function names; given twice: {', '.join(twice)}")
    return tools
