"""What models of each family write, as their cards and templates show it, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMAS: dict[str, Any] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "units": {"enum": ["c", "f"]},
            "exact": {"type": "boolean"},
            "places": {"type": "array", "items": {"type": "string"}},
            "note": {"type": ["string", "null"]},
            "range": {"$ref": "#/$defs/range"},
        },
        "$defs": {"range": {"type": "object"}},
    },
    "now": {"type": "object", "properties": {}},
}

Calls = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    form: str
    text: str
    calls: Calls
    content: str = ""


TOKYO = '{"city": "東京 \\"x\\"", "days": 3}'
PARIS = '{"city": "Paris"}'
CALL = ("get_weather", TOKYO)
SECOND = ("get_weather", PARIS)

EXAMPLES = {
    "hermes": Example(
        "hermes",
        f'Let me see.\n<tool_call>\n{{"name": "get_weather", "arguments": {TOKYO}}}\n</tool_call>\n'
        f'<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}\n</tool_call>',
        (CALL, SECOND),
        "Let me see.",
    ),
    "llama_bare": Example(
        "llama-json", f'{{"name": "get_weather", "parameters": {TOKYO}}}', (CALL,)
    ),
    "llama_two": Example(
        "llama-json",
        f'<|python_tag|>{{"name": "get_weather", "parameters": {TOKYO}}}; '
        f'{{"type": "function", "name": "get_weather", "parameters": {PARIS}}}',
        (CALL, SECOND),
    ),
    "llama_4": Example(
        "llama-json",
        f'<|python_start|>{{"name": "get_weather", "parameters": {PARIS}}}<|python_end|>',
        (SECOND,),
    ),
    "pythonic": Example(
        "pythonic",
        '[get_weather(city=\'東京 "x"\', days=3), now(), get_weather(city="Paris")]',
        (CALL, ("now", "{}"), SECOND),
    ),
    "pythonic_marked": Example(
        "pythonic",
        '<|python_start|>[get_weather(city="""a, b) \'c\'""", places=("x", \'\'), exact=True, '
        "note=None, range={'low': -1, \"high\": [2.5]})]<|python_end|>",
        (
            (
                "get_weather",
                '{"city": "a, b) \'c\'", "places": ["x", ""], "exact": true, "note": null, '
                '"range": {"low": -1, "high": [2.5]}}',
            ),
        ),
    ),
    "mistral": Example(
        "mistral",
        f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {TOKYO}}}, '
        f'{{"name": "get_weather", "arguments": {PARIS}, "id": "abc123XYZ"}}]',
        (CALL, SECOND),
    ),
    "mistral_v7": Example(
        "mistral",
        f'Sure.[TOOL_CALLS][{{"arguments": {PARIS}, "name": "get_weather"}}]',
        (SECOND,),
        "Sure.",
    ),
    "mistral_args": Example(
        "mistral-args",
        f"[TOOL_CALLS]get_weather[ARGS]{TOKYO}[TOOL_CALLS]get_weather[CALL_ID]abc123XYZ[ARGS]{PARIS}",
        (CALL, SECOND),
    ),
    "deepseek_v3": Example(
        "deepseek-v3",
        "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        f"```json\n{TOKYO}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        f"get_weather\n```json\n{PARIS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        (CALL, SECOND),
        "I look.",
    ),
    "deepseek_v31": Example(
        "deepseek-v3.1",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{TOKYO}"
        f"<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{PARIS}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        (CALL, SECOND),
    ),
    "glm": Example(
        "glm",
        '\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>東京 "x"</arg_value>\n'
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
        "<tool_call>now\n</tool_call>",
        (CALL, ("now", "{}")),
    ),
    "glm_47": Example(
        "glm",
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>",
        (SECOND,),
    ),
    "glm_types": Example(
        "glm",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>5</arg_value>\n"
        '<arg_key>places</arg_key>\n<arg_value>["a", "b"]</arg_value>\n'
        "<arg_key>exact</arg_key>\n<arg_value>True</arg_value>\n"
        "<arg_key>note</arg_key>\n<arg_value>null</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>many</arg_value>\n"
        "<arg_key>other</arg_key>\n<arg_value>7</arg_value>\n</tool_call>",
        (
            (
                "get_weather",
                '{"city": "5", "places": ["a", "b"], "exact": true, "note": null, '
                '"days": "many", "other": 7}',
            ),
        ),
    ),
    "qwen_coder": Example(
        "qwen3-coder",
        'I look.\n<tool_call>\n<function=get_weather>\n<parameter=city>\n東京 "x"\n</parameter>\n'
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=now>\n</function>\n</tool_call>",
        (CALL, ("now", "{}")),
        "I look.",
    ),
    "qwen_coder_lines": Example(
        "qwen3-coder",
        "<function=get_weather>\n<parameter=city>\n<p>\n  a\n</p>\n\n</parameter>\n"
        "<parameter=note>\n\n</parameter>\n</function>",
        (("get_weather", '{"city": "<p>\\n  a\\n</p>\\n", "note": ""}'),),
    ),
    "granite": Example(
        "granite",
        f'<|tool_call|>[{{"name": "get_weather", "arguments": {TOKYO}}}, '
        f'{{"name": "get_weather", "arguments": {PARIS}}}]',
        (CALL, SECOND),
    ),
    "granite_31": Example(
        "granite",
        f'<tool_call> [{{"name": "get_weather", "arguments": {PARIS}}}]</tool_call>',
        (SECOND,),
    ),
    "functools": Example(
        "functools",
        f'functools[\n  {{"name": "get_weather", "arguments": {TOKYO}}},\n'
        f'  {{"name": "get_weather", "arguments": {PARIS}}}\n]',
        (CALL, SECOND),
    ),
    "phi": Example(
        "phi-4-mini",
        f'<|tool_call|>[{{"name": "get_weather", "arguments": {PARIS}}}]<|/tool_call|>',
        (SECOND,),
    ),
    "harmony": Example(
        "harmony",
        "<|channel|>analysis<|message|>The user asks.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        f"<|constrain|>json<|message|>{TOKYO}<|call|>",
        (CALL,),
        "I look.",
    ),
    "harmony_role": Example(
        "harmony",
        "<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>"
        f"{PARIS}<|call|><|start|>assistant<|channel|>commentary to=functions.now<|message|>"
        "<|call|>",
        (SECOND, ("now", "{}")),
    ),
}
