"""Mistral: a list of JSON objects (tokenizers v3 and v7), or names and arguments (v11 on)."""

from jaxserve.text.calls.description import (
    Arguments,
    JSONCall,
    Name,
    ReasoningFormat,
    Skipped,
    ToolFormat,
)

MISTRAL = ToolFormat(
    name="mistral",
    markers=("[TOOL_CALLS]",),
    begins=("[TOOL_CALLS] [",),
    call=(JSONCall(),),
    between=", ",
    end="]",
    many_per_run=True,
)

MISTRAL_ARGS = ToolFormat(
    name="mistral-args",
    markers=("[TOOL_CALLS]", "[ARGS]"),
    begins=("[TOOL_CALLS]",),
    call=(Name(stops="["), Skipped(opening="[CALL_ID]"), "[ARGS]", Arguments()),
)

MISTRAL_THINK = ReasoningFormat(
    name="mistral", markers=("[THINK]",), opens=("[THINK]",), closes=("[/THINK]",)
)
