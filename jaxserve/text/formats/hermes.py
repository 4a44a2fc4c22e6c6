"""Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3: a JSON object between tags."""

from jaxserve.text.calls.description import JSONCall, ToolFormat

HERMES = ToolFormat(
    name="hermes",
    markers=("<tool_call>",),
    begins=("<tool_call>\n",),
    call=(JSONCall(),),
    end="\n</tool_call>",
)
