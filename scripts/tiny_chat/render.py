"""How do messages become the one text that the model reads?

Two renderers that must agree: `CHAT_TEMPLATE` ships with the weights, `segments` makes the training
text and knows which part of it the model has to produce. A test compares them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

START, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TOOL_MARKS = (
    "<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
TOOLS_HEAD = "# Tools\nYou may call these functions:\n<tools>\n"
TOOLS_TAIL = (
    '</tools>\nTo call one, write:\n<tool_call>\n{"name": name, "arguments": arguments}\n'
    "</tool_call>"
)

CHAT_TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{- content -}}
{%- elif content is iterable and content is not mapping -%}
{%- for part in content -%}
{%- if part is string -%}{{- part -}}
{%- elif part.text is defined and part.text is string -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set first = messages[0] if messages else none -%}
{%- set has_system = first is mapping and first.role == 'system' -%}
{%- set opening = text(first.content) if has_system else '' -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{{- opening -}}
{{- '\\n\\n' if opening else '' -}}
{{- '# Tools\\nYou may call these functions:\\n<tools>\\n' -}}
{%- for tool in tools -%}{{- tool | tojson -}}{{- '\\n' -}}{%- endfor -%}
{{- '</tools>\\nTo call one, write:\\n<tool_call>\\n' -}}
{{- '{"name": name, "arguments": arguments}\\n</tool_call><|im_end|>\\n' -}}
{%- elif has_system -%}
{{- '<|im_start|>system\\n' -}}{{- opening -}}{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in (messages[1:] if has_system else messages) -%}
{{- '<|im_start|>' -}}{{- message.role -}}{{- '\\n' -}}
{%- set said = text(message.content) -%}
{%- if message.role == 'tool' -%}
{{- '<tool_response>\\n' -}}{{- said -}}{{- '\\n</tool_response>' -}}
{%- else -%}
{{- said -}}
{%- if message.tool_calls -%}
{%- for call in message.tool_calls -%}
{%- set called = call.function if call.function is defined else call -%}
{%- if said or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n{"name": ' -}}{{- called.name | tojson -}}{{- ', "arguments": ' -}}
{%- if called.arguments is string -%}{{- called.arguments or '{}' -}}
{%- else -%}{{- (called.arguments or {}) | tojson -}}{%- endif -%}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    texts = (part if isinstance(part, str) else part.get("text") for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def tool_call_text(name: str, arguments: object) -> str:
    if isinstance(arguments, str):
        written = arguments or "{}"
    else:
        written = _json(arguments or {})
    return f'<tool_call>\n{{"name": {_json(name)}, "arguments": {written}}}\n</tool_call>'


def assistant_text(message: Message) -> str:
    """Write what the model must produce for an assistant message, without the end mark."""
    said = _text(message.get("content"))
    calls = [call.get("function", call) for call in message.get("tool_calls") or ()]
    written = [tool_call_text(call["name"], call.get("arguments")) for call in calls]
    return "\n".join(([said] if said else []) + written)


def segments(
    messages: Sequence[Message], tools: Sequence[Tool] | None = None
) -> list[tuple[str, bool]]:
    """Render to (text, learned) pieces; learned pieces are the assistant's words and end mark."""
    pieces: list[tuple[str, bool]] = []
    rest = list(messages)
    opening = None
    if rest and rest[0]["role"] == "system":
        opening = _text(rest.pop(0).get("content"))
    if tools:
        listed = "".join(_json(tool) + "\n" for tool in tools)
        block = (opening + "\n\n" if opening else "") + TOOLS_HEAD + listed + TOOLS_TAIL
        pieces.append((f"{START}system\n{block}{END}\n", False))
    elif opening is not None:
        pieces.append((f"{START}system\n{opening}{END}\n", False))
    for message in rest:
        role = message["role"]
        if role == "tool":
            body = f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>"
        else:
            body = assistant_text(message)
        if role == "assistant":
            pieces += [(f"{START}assistant\n", False), (body + END, True), ("\n", False)]
        else:
            pieces.append((f"{START}{role}\n{body}{END}\n", False))
    return pieces


def render(
    messages: Sequence[Message],
    tools: Sequence[Tool] | None = None,
    *,
    add_generation_prompt: bool = False,
) -> str:
    body = "".join(text for text, _ in segments(messages, tools))
    return body + (f"{START}assistant\n" if add_generation_prompt else "")
