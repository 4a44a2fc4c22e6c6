"""How are tools made callable? Their calls are read, and held to what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxserve.errors import InvalidRequest
from jaxserve.generate import TextRequest
from jaxserve.server.messages import Tool
from jaxserve.server.parsing import unsupported
from jaxserve.server.state import ServerState
from jaxserve.server.tool_choice import ToolChoice
from jaxserve.text.calls.answer_grammar import AnswerGrammars
from jaxserve.text.calls.reader import AnswerFormats
from jaxserve.text.grammar import GrammarWish
from jaxserve.text.json_schema import GrammarRefused


def check_tools(formats: AnswerFormats) -> None:
    """Raise InvalidRequest when calls could not be told from text."""
    if formats.tools is None:
        raise unsupported(
            "tools",
            "can not be called: the chat template does not show how this model writes calls; "
            "start the server with --tool-format, or send tool_choice none",
        )


def schemas_of(tools: Sequence[Tool]) -> dict[str, Any] | None:
    """The parameters of tools whose calls are read, None when there are none."""
    return {tool.function.name: tool.function.parameters for tool in tools} or None


async def held_to_calls(
    state: ServerState,
    request: TextRequest,
    tools: Sequence[Tool],
    choice: ToolChoice,
    *,
    parallel: bool,
) -> TextRequest:
    """The request with its calls held to the tools, if the client asked for that.

    A forced choice is; with auto, all calls are when one of the tools is strict. Raises
    InvalidRequest when a schema can not be enforced.
    """
    callable_tools = choice.among(tools)
    if not (choice.is_forced or any(tool.function.strict for tool in callable_tools)):
        return request
    form, schemas = state.formats.tools, schemas_of(callable_tools)
    assert form is not None and schemas is not None, "checked before"
    grammars = AnswerGrammars(form, state.generator.tokenizer)
    write = grammars.forced if choice.is_forced else grammars.offered
    try:
        source = await asyncio.to_thread(write, schemas, many=parallel)
    except (GrammarRefused, RecursionError) as refused:
        problem = f"tools can not be compiled to a grammar: {refused}"
        raise InvalidRequest(problem, param="tools", code="invalid_schema") from None
    preface = "" if form.channels else state.formats.preface(request.prompt_ids)
    wish = GrammarWish("lark", source, preface=preface)
    grammar = await state.generator.compile_grammar(wish, param="tools")
    return replace(request, grammar=grammar)
