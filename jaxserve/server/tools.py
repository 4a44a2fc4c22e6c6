"""How are tools made callable? Their calls are read, and held to what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxserve.errors import InvalidRequest
from jaxserve.generate import TextRequest
from jaxserve.server.forms import Form
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

    A forced choice is; with auto, all calls are when one of the tools is strict, or not all of
    them are allowed. Raises InvalidRequest when a schema can not be enforced.
    """
    callable_tools = choice.among(tools)
    is_strict = any(tool.function.strict for tool in callable_tools)
    if not (choice.is_forced or is_strict or choice.allowed is not None):
        return request
    source = await _calls(state, callable_tools, forced=choice.is_forced, many=parallel)
    wish = GrammarWish("lark", source, preface=_preface(state, request))
    grammar = await state.compile_grammar(wish, param="tools")
    return replace(request, grammar=grammar)


async def held_to_either(
    state: ServerState,
    request: TextRequest,
    form: Form,
    tools: Sequence[Tool],
    *,
    parallel: bool,
) -> TextRequest:
    """The request with its output held to the form, or else to be calls of the tools.

    Raises InvalidRequest when one of them can not be enforced, or one not be told from the other.
    """
    calls = state.formats.tools
    assert calls is not None, "checked before"
    if form.wish.kind != "json_schema" or calls.at_start or calls.channels:
        raise unsupported(
            form.param,
            "can not go with tools that may be called, unless it is JSON and this model marks its "
            "calls: set tool_choice to none",
        )
    source = await _calls(state, tools, forced=True, many=parallel)
    wish = replace(form.wish, preface=_preface(state, request), instead=source)
    grammar = await state.compile_grammar(wish, param=form.param)
    return replace(request, grammar=grammar)


async def _calls(state: ServerState, tools: Sequence[Tool], *, forced: bool, many: bool) -> str:
    form, schemas = state.formats.tools, schemas_of(tools)
    assert form is not None and schemas is not None, "checked before"
    grammars = AnswerGrammars(form, state.generator.tokenizer)
    write = grammars.forced if forced else grammars.offered
    try:
        return await asyncio.to_thread(write, schemas, many=many)
    except (GrammarRefused, RecursionError) as refused:
        problem = f"tools can not be compiled to a grammar: {refused}"
        raise InvalidRequest(problem, param="tools", code="invalid_schema") from None


def _preface(state: ServerState, request: TextRequest) -> str:
    """What comes before calls; with channels their own grammar says it."""
    form = state.formats.tools
    has_own = form is not None and form.channels
    return "" if has_own else state.formats.preface(request.prompt_ids)
