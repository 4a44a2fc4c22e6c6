"""GLM 4.5 and later: keys and values between tags."""

from jaxserve.text.calls.description import Name, Tagged, ToolFormat

GLM = ToolFormat(
    name="glm",
    markers=("<arg_key>", "<arg_value>"),
    begins=("<tool_call>",),
    call=(
        Name(stops="<"),
        Tagged(
            key_open="\n<arg_key>",
            key_close="</arg_key>\n<arg_value>",
            value_close="</arg_value>",
            close="\n</tool_call>",
        ),
    ),
)
