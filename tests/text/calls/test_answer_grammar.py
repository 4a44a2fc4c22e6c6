"""Whatever a grammar of calls takes is read back as calls that satisfy the tools' schemas."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from llguidance import LLMatcher

from jaxserve.text.calls.answer import answer_parser
from jaxserve.text.calls.answer_grammar import AnswerGrammars
from jaxserve.text.calls.description import ToolFormat
from jaxserve.text.calls.events import CallArguments, CallName, Content
from jaxserve.text.formats.table import TOOL_FORMATS
from jaxserve.text.grammar_trial import Vocabulary
from jaxserve.text.json_schema import GrammarRefused
from tests.text.formats.examples import EXAMPLES
from tests.text.formats.examples import SCHEMAS as EXAMPLE_SCHEMAS
from tests.text_fakes import EOS, MarkerTokenizer

FORMATS = {form.name: form for form in TOOL_FORMATS}
MAX_TOKENS = 600

# Markers that are special tokens in their models' vocabularies.
MARKERS = {
    "mistral": ("[TOOL_CALLS]",),
    "mistral-args": ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    "granite": ("<|tool_call|>",),
    "llama-json": ("<|python_tag|>",),
    "harmony": ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"),
}

SCHEMAS: dict[str, Any] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["c", "f"]},
            "city": {"type": "string"},
            "exact": {"type": "boolean"},
            "points": {"type": "array", "items": {"$ref": "#/$defs/point"}, "maxItems": 2},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "code": {"type": "string", "pattern": "^[a-c]{2}/?$"},
            "short": {"type": "string", "minLength": 1, "maxLength": 3},
            "kind": {"$ref": "#/$defs/kind"},
        },
        "required": ["days", "code", "short"],
        "additionalProperties": False,
        "$defs": {
            "point": {"type": "object", "properties": {"x": {"type": "number"}}},
            "kind": {"const": "now"},
        },
    },
    "now": {},
}


class Bench:
    """Texts that a grammar takes, and how they are read."""

    def __init__(self, form: ToolFormat, schemas: dict[str, Any] = SCHEMAS) -> None:
        self.form = form
        self.schemas = schemas
        self.tokenizer = MarkerTokenizer(MARKERS.get(form.name, ()))
        ids = range(self.tokenizer.vocab_size)
        special = [i for i in ids if self.tokenizer.is_special(i)]
        vocabulary = Vocabulary([*map(self.tokenizer.token_bytes, ids)], special, [EOS])
        self._tokens = vocabulary.tokenizer(self._encode)
        self.grammars = AnswerGrammars(form, self.tokenizer)

    def forced(self, *, many: bool = True) -> LLMatcher:
        return self._matcher(self.grammars.forced(self.schemas, many=many))

    def offered(self, *, many: bool = True) -> LLMatcher:
        return self._matcher(self.grammars.offered(self.schemas, many=many))

    def draw(self, matcher: LLMatcher, seed: int, begin: str = "") -> str | None:
        """`begin`, and random tokens that are allowed; None if they do not end soon."""
        rng, ids = random.Random(seed), self._encode(begin)
        assert matcher.consume_tokens(ids), matcher.get_error()
        for _ in range(MAX_TOKENS):
            if matcher.is_stopped():
                break
            token_id = self._choose(matcher, rng)
            if token_id == EOS:
                break
            matcher.consume_token(token_id)
            ids.append(token_id)
        else:
            return None
        return b"".join(map(self.tokenizer.token_bytes, ids)).decode()

    def takes(self, matcher: LLMatcher, text: str) -> bool:
        """Whether the text, and then the end, is allowed."""
        ids = self._encode(text)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    def read(self, text: str) -> tuple[str, list[tuple[str, Any]]]:
        """Content and calls, which must be complete and valid."""
        parser = answer_parser(self.form, None, prompt="", schemas=self.schemas)
        content, calls = "", list[tuple[str, str]]()
        for event in parser.push(text) + parser.finish():
            if isinstance(event, Content):
                content += event.text
            elif isinstance(event, CallName):
                calls.append((event.name, ""))
            elif isinstance(event, CallArguments):
                calls[-1] = (calls[-1][0], calls[-1][1] + event.text)
        assert parser.num_complete == len(calls)
        read = [(name, json.loads(arguments)) for name, arguments in calls]
        for name, arguments in read:
            jsonschema.validate(arguments, self.schemas[name])
        return content, read

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _matcher(self, source: str) -> LLMatcher:
        matcher = LLMatcher(self._tokens, json.dumps({"grammars": [{"lark_grammar": source}]}))
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def _choose(self, matcher: LLMatcher, rng: random.Random) -> int:
        """Often a token that brings the end nearer; a tag is ended once it is begun."""
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        allowed = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
        closing = [i for i in allowed if i == EOS or chr(i) in '"}])<>/']
        return int(rng.choice(closing if closing and rng.random() < 0.5 else allowed))


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_forced_answers_are_valid_calls_and_nothing_else(name: str, many: bool) -> None:
    bench = Bench(FORMATS[name])
    num_read = 0
    for seed in range(12):
        text = bench.draw(bench.forced(many=many), seed)
        if text is not None:
            content, calls = bench.read(text)
            assert calls and (not content.strip() or bench.form.channels)
            assert many or len(calls) == 1
            num_read += 1
    assert num_read > 0


BEGINS = {
    "hermes": "Hi <tool_call>",
    "glm": "Hi\n<tool_call>",
    "qwen3-coder": "Hi <tool_call>",
    "functools": "Hi functools",
    "phi-4-mini": "<|tool_call|>",
    "granite": "Hi <|tool_call|>",
    "mistral": "[TOOL_CALLS]",
    "mistral-args": "Hi [TOOL_CALLS]",
    "deepseek-v3": "Hi <｜tool▁calls▁begin｜>",
    "deepseek-v3.1": "<｜tool▁calls▁begin｜>",
    "llama-json": "{",
    "pythonic": "[",
    "harmony": "<|channel|>commentary to=",
}


@pytest.mark.parametrize("name", FORMATS)
def test_offered_calls_are_valid_once_they_begin(name: str) -> None:
    bench = Bench(FORMATS[name])
    drawn = (bench.draw(bench.offered(), seed, BEGINS[name]) for seed in range(12))
    texts = [text for text in drawn if text is not None]
    assert texts and all(bench.read(text)[1] for text in texts)


@pytest.mark.parametrize("name", FORMATS)
def test_offered_answers_may_be_text(name: str) -> None:
    bench = Bench(FORMATS[name])
    lead = "<|channel|>final<|message|>" if name == "harmony" else ""
    assert bench.takes(bench.offered(), f"{lead}No call, only (some) text: [1] <b> é.\n")
    assert not bench.takes(bench.forced(), f"{lead}No call.")


CANONICAL = ("hermes", "llama_bare", "deepseek_v3", "deepseek_v31", "glm", "qwen_coder", "granite")


@pytest.mark.parametrize("name", CANONICAL)
def test_what_models_write_is_taken(name: str) -> None:
    example = EXAMPLES[name]
    bench = Bench(FORMATS[example.form], EXAMPLE_SCHEMAS)
    assert bench.takes(bench.offered(), example.text)
    assert bench.takes(bench.forced(), example.text.removeprefix(example.content))


@pytest.mark.parametrize(
    ("schema", "text", "is_taken"),
    [
        ({"type": "string"}, "any < text\n", True),
        ({"type": "string", "enum": ["a b", "c"]}, "a b", True),
        ({"type": "string", "enum": ["a b", "c"]}, "a", False),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "abc", True),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "abcd", False),
        ({"type": "string", "pattern": "b+$"}, "abb", True),
        ({"type": "string", "pattern": "b+$"}, "abba", False),
        ({"type": "integer", "maximum": 5}, "5", True),
        ({"type": "integer", "maximum": 5}, "6", False),
        ({"type": ["string", "null"]}, "null", True),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "12", True),
        ({"const": None}, "null", True),
        ({"const": None}, "None", False),
        ({"$ref": "#/$defs/a"}, "[1]", True),
        ({}, '{"x": 1}', True),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["glm", "qwen3-coder"])
def test_bare_values_keep_to_their_schema(
    name: str, schema: dict[str, Any], text: str, is_taken: bool
) -> None:
    root = {
        "properties": {"p": schema},
        "required": ["p"],
        "$defs": {"a": {"type": "array", "items": {"type": "integer"}}},
    }
    bench = Bench(FORMATS[name], {"f": root})
    written = {
        "glm": f"<tool_call>f\n<arg_key>p</arg_key>\n<arg_value>{text}</arg_value>\n</tool_call>",
        "qwen3-coder": f"<tool_call>\n<function=f>\n<parameter=p>\n{text}\n</parameter>\n"
        "</function>\n</tool_call>",
    }[name]
    assert bench.takes(bench.forced(), written) is is_taken
    if is_taken:
        assert bench.read(written)[1]


@pytest.mark.parametrize(
    ("name", "schemas", "problem"),
    [
        ("hermes", {"f": {"properties": {"p": {"not": {}}}}}, "'f': the keyword 'not' at"),
        ("glm", {"a b": {}}, "'a b'"),
        ("glm", {"f": {"anyOf": [{}, {}]}}, "'f': the parameters must be an object"),
        ("glm", {"f": {"properties": {"a<b": {}}}}, "the parameter 'a<b'"),
        (
            "glm",
            {"f": {"properties": {"p": {"type": ["string", "integer"], "minimum": 1}}}},
            "the parameter 'p' may be a string, and what minimum",
        ),
        (
            "glm",
            {"f": {"properties": {"p": {"type": ["string", "integer"], "enum": ["1", 2]}}}},
            "the parameter 'p' may be \"1\"",
        ),
        ("pythonic", {"f": {"properties": {"a-b": {}}}}, "'a-b' is no name"),
    ],
)
def test_what_can_not_be_enforced_is_refused_by_tool(
    name: str, schemas: dict[str, Any], problem: str
) -> None:
    with pytest.raises(GrammarRefused, match=re.escape(problem)):
        Bench(FORMATS[name], schemas).grammars.forced(schemas, many=True)


def test_a_python_call_leaves_optional_arguments_out() -> None:
    properties = {key: {"type": "boolean"} for key in "abc"}
    bench = Bench(FORMATS["pythonic"], {"f": {"properties": properties, "required": ["b"]}})
    for text in ("[f(b=True)]", "[f(a=True, b=False, c=True)]", "[f(b=True, c=True)]"):
        assert bench.takes(bench.forced(), text)
    for text in ("[f()]", "[f(a=True)]", "[f(, b=True)]", "[f(b=True, a=True)]"):
        assert not bench.takes(bench.forced(), text)
