"""Phi-4-mini: a list of JSON objects behind one of two markers."""

from jaxserve.text.calls.description import JSONCall, ToolFormat

PHI = ToolFormat(
    name="phi-4-mini",
    markers=("<|tool|>",),
    begins=("<|tool_call|> [", "functools ["),
    call=(JSONCall(),),
    between=", ",
    end="]",
    strays=("<|/tool_call|>", "</|tool_call|>"),
    many_per_run=True,
)

FUNCTOOLS = ToolFormat(
    name="functools",
    markers=("functools",),
    begins=("functools [", "<|tool_call|> ["),
    call=(JSONCall(),),
    between=", ",
    end="]",
    strays=("<|/tool_call|>", "</|tool_call|>"),
    many_per_run=True,
)
