"""How are tools made callable? Their calls are read, and held to what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

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

Written = TypeVar("Written", str, GrammarWish)


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
    write = _grammars(state).forced if choice.is_forced else _grammars(state).offered
    source = await _written(partial(write, _callable_schemas(callable_tools), many=parallel))
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
    if form.wish.kind != "json_schema":
        raise unsupported(
            form.param,
            "can not go with tools that may be called, unless it is JSON: set tool_choice to none",
        )
    write = partial(
        _grammars(state).beside,
        _callable_schemas(tools),
        form.wish,
        preface=state.formats.preface(request.prompt_ids),
        many=parallel,
    )
    grammar = await state.compile_grammar(await _written(write), param=form.param)
    return replace(request, grammar=grammar)


def _grammars(state: ServerState) -> AnswerGrammars:
    assert state.formats.tools is not None, "checked before"
    return AnswerGrammars(state.formats.tools, state.generator.tokenizer)


def _callable_schemas(tools: Sequence[Tool]) -> dict[str, Any]:
    schemas = schemas_of(tools)
    assert schemas is not None, "there are tools"
    return schemas


async def _written(write: Callable[[], Written]) -> Written:
    """A grammar, written off the event loop."""
    try:
        return await asyncio.to_thread(write)
    except (GrammarRefused, RecursionError) as refused:
        problem = f"tools can not be compiled to a grammar: {refused}"
        raise InvalidRequest(problem, param="tools", code="invalid_schema") from None


def _preface(state: ServerState, request: TextRequest) -> str:
    """What comes before calls; with channels their own grammar says it."""
    form = state.formats.tools
    has_own = form is not None and form.channels
    return "" if has_own else state.formats.preface(request.prompt_ids)
