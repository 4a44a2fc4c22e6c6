"""Granite 3: a list of JSON objects; reasoning between sentences (3.2) or tags (3.3)."""

from jaxserve.text.calls.description import JSONCall, ReasoningFormat, ToolFormat

GRANITE = ToolFormat(
    name="granite",
    markers=("<|start_of_role|>", "<|tool_call|>"),
    begins=("<|tool_call|> [", "<tool_call> ["),
    call=(JSONCall(),),
    between=", ",
    end="]",
    strays=("</tool_call>",),
    many_per_run=True,
)

GRANITE_SENTENCES = ReasoningFormat(
    name="granite",
    markers=("Here is my thought process:", "Here is my response:"),
    opens=("Here is my thought process:", "Here's my thought process:"),
    closes=("Here is my response:", "Here's my response:"),
)

GRANITE_TAGS = ReasoningFormat(
    name="granite-tags",
    markers=("<think>", "<response>"),
    opens=("<think>",),
    closes=("</think>",),
    dropped=("<response>", "</response>"),
)
