"""Which tools may a request's answer call, and must it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from jaxserve.server.fields import wrong_type, wrong_value
from jaxserve.server.messages import Tool
from jaxserve.server.parsing import wrong

Mode = Literal["auto", "none", "required", "named"]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name` is the tool that must be called when the mode is named; `allowed` are the names of
    those that may be chosen from, None for all."""

    mode: Mode
    name: str = ""
    allowed: frozenset[str] | None = None

    @property
    def is_forced(self) -> bool:
        return self.mode in ("required", "named")

    def check(self, tools: Sequence[Tool]) -> None:
        """Raise InvalidRequest unless the tools can be chosen from like this."""
        names = [tool.function.name for tool in tools]
        if unknown := sorted((self.allowed or frozenset()).difference(names)):
            raise wrong("tool_choice", f"allows {unknown[0][:80]!r}, which is none of the tools")
        if not self.is_forced:
            return
        if not names:
            raise wrong("tool_choice", "needs tools to choose from: send them, or leave it out")
        if self.mode == "named" and self.name not in names:
            raise wrong(
                "tool_choice",
                f"must be auto, none, required or one of the tools {', '.join(names)[:200]}; "
                f"got {self.name[:80]!r}",
            )

    def among(self, tools: Sequence[Tool]) -> list[Tool]:
        """The tools that may be called."""
        if self.mode == "none":
            return []
        allowed = {self.name} if self.mode == "named" else self.allowed
        return [tool for tool in tools if allowed is None or tool.function.name in allowed]


AUTO = ToolChoice("auto")


def read_tool_choice(value: Any) -> ToolChoice:
    """OpenAI's forms, and TGI's bare name of a function."""
    if isinstance(value, ToolChoice):
        return value
    if isinstance(value, str):
        modes: dict[str, Mode] = {"auto": "auto", "none": "none", "required": "required"}
        return ToolChoice(modes[value]) if value in modes else ToolChoice("named", value)
    if not isinstance(value, dict):
        raise wrong_type("a string or an object")
    if value.get("type") == "allowed_tools":
        return _read_allowed(value.get("allowed_tools", value))
    if value.get("type", "function") != "function":
        raise PydanticCustomError(
            "unsupported_value", "must have the type function or allowed_tools"
        )
    return ToolChoice("named", _function_name(value))


def _read_allowed(value: Any) -> ToolChoice:
    """OpenAI's `{mode, tools}`; a function is written as it is where one is named."""
    if not isinstance(value, dict) or value.get("mode") not in ("auto", "required"):
        raise wrong_value("must have allowed_tools with the mode auto or required")
    tools = value.get("tools")
    if not isinstance(tools, list) or not tools or not all(isinstance(t, dict) for t in tools):
        raise wrong_value("must have allowed_tools with a list of tools that is not empty")
    return ToolChoice(value["mode"], allowed=frozenset(map(_function_name, tools)))


def _function_name(value: dict[str, Any]) -> str:
    """The name in a function that is told in Chat Completions' way or in that of Responses."""
    function = value.get("function", value)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise wrong_value("must name a function, as {type: function, function: {name: ...}}")
    return name
