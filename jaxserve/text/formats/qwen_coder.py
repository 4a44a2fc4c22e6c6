"""Qwen3-Coder: functions and parameters as tags, values on lines of their own."""

from jaxserve.text.calls.description import Name, Tagged, ToolFormat

QWEN_CODER = ToolFormat(
    name="qwen3-coder",
    markers=("<function=", "<parameter="),
    begins=("<tool_call>\n<function=", "<function="),  # the model may leave the outer tag out
    call=(
        Name(stops=">"),
        ">",
        Tagged(
            key_open="\n<parameter=",
            key_close=">",
            value_close="</parameter>",
            close="\n</function>",
            lines=True,
        ),
    ),
    end="\n</tool_call>",
)
