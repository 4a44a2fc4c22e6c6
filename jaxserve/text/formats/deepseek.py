"""DeepSeek: a fenced JSON object behind a name (V3 and R1), or a bare one (V3.1)."""

from jaxserve.text.calls.description import Arguments, Name, ReasoningFormat, ToolFormat

_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL_BEGIN, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
_SEPARATOR = "<｜tool▁sep｜>"

DEEPSEEK_V3 = ToolFormat(
    name="deepseek-v3",
    markers=(_SEPARATOR, "```json"),
    begins=(_BEGIN,),
    call=(
        f"{_CALL_BEGIN}function{_SEPARATOR}",
        Name(stops="`"),
        "\n```json\n",
        Arguments(),
        f"\n```{_CALL_END}",
    ),
    between="\n",
    end=_END,
    many_per_run=True,
)

DEEPSEEK_V31 = ToolFormat(
    name="deepseek-v3.1",
    markers=(_SEPARATOR,),
    begins=(_BEGIN,),
    call=(_CALL_BEGIN, Name(stops="<"), _SEPARATOR, Arguments(), _CALL_END),
    end=_END,
    many_per_run=True,
)

# Its first template cut the reasoning off at its end and never wrote a beginning.
DEEPSEEK_R1 = ReasoningFormat(
    name="deepseek-r1",
    markers=("</think>",),
    opens=("<think>",),
    closes=("</think>",),
    implicit=True,
)
