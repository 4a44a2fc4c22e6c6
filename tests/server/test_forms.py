"""Forms of the output, in every dialect's words: held to, or refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from jaxserve.text.calls.description import ToolFormat
from jaxserve.text.formats.harmony import HARMONY_ANALYSIS
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.llama import LLAMA_JSON
from jaxserve.text.formats.table import TOOL_FORMATS, Formats
from jaxserve.text.formats.think import THINK
from tests.server.apps import CHAT, MESSAGES, TEXT, client, events
from tests.text.calls.test_answer_grammar import MARKERS
from tests.text.schemas import SCHEMAS
from tests.text_fakes import MarkerTokenizer, ScriptedEngine, limits

RATING = SCHEMAS["bounded integer"]
ROOT = {"type": "object"}
NAMED = {"name": "r", "strict": True, "schema": RATING}
TAG = {
    "type": "structural_tag",
    "structures": [{"begin": "<f>", "schema": RATING, "end": "</f>"}],
    "triggers": ["<f>"],
}
BNF = 'root ::= "it is " [0-9]'

# What asks for a form on the /v1 routes, and what the answer is when the model says "No <f>!".
FORMS: list[tuple[dict[str, Any], Any]] = [
    ({"response_format": {"type": "json_object"}}, ROOT),
    ({"response_format": {"type": "json_object", "value": RATING}}, RATING),
    ({"response_format": {"type": "json_object", "schema": RATING}}, RATING),
    ({"response_format": {"type": "json_schema", "json_schema": NAMED}}, RATING),
    ({"response_format": {"type": "json_schema", "value": NAMED}}, RATING),
    ({"response_format": {"type": "json", "value": RATING}}, RATING),
    ({"response_format": {"type": "json", "value": json.dumps(RATING)}}, RATING),
    ({"response_format": {"type": "regex", "value": "N[a-z]"}}, "No"),
    ({"response_format": {"type": "text"}}, "No <f>!"),
    ({"response_format": TAG}, 'No <f>{"rating":1}</f>'),
    ({"structured_outputs": {"json": RATING}}, RATING),
    ({"structured_outputs": {"json": json.dumps(RATING), "regex": None}}, RATING),
    ({"structured_outputs": {"regex": "N[a-z]"}}, "No"),
    ({"structured_outputs": {"choice": ["Never", "Na"]}}, "Na"),
    ({"structured_outputs": {"grammar": BNF}}, "it is 1"),
    ({"structured_outputs": {"json_object": True}}, ROOT),
    ({"structured_outputs": {"structural_tag": json.dumps(TAG)}}, 'No <f>{"rating":1}</f>'),
    ({"guided_json": RATING}, RATING),
    ({"guided_regex": "N[a-z]"}, "No"),
    ({"guided_choice": ["Never", "Na"]}, "Na"),
    ({"guided_grammar": BNF}, "it is 1"),
    ({"grammar": BNF}, "it is 1"),
    ({"grammar": {"type": "regex", "value": "N[a-z]"}}, "No"),
    ({"grammar": ""}, "No <f>!"),
    ({"json_schema": RATING}, RATING),
    ({"json_schema": {}}, "No <f>!"),
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"response_format": "json"}, "an object"),
    ({"response_format": {"type": "xml"}}, "must have the type text"),
    ({"response_format": {}}, "must have the type text"),
    ({"response_format": {"type": "json_schema"}}, "json_schema.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "schema"),
    ({"response_format": {"type": "json_object", "value": 5}}, "a JSON schema"),
    ({"response_format": {"type": "json", "value": "{"}}, "not JSON"),
    ({"response_format": {"type": "json_object", "value": {"not": {}}}}, "'not' at #"),
    ({"response_format": {"type": "structural_tag", "format": {}}}, "structures"),
    ({"structured_outputs": {}}, "exactly one"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "exactly one"),
    ({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}}, "whitespace_pattern"),
    ({"structured_outputs": {"structural_tag": "{"}}, "not JSON"),
    ({"structured_outputs": []}, "an object"),
    ({"guided_json": {"not": {}}}, "'not' at #"),
    ({"guided_json": 5}, "a JSON schema"),
    ({"guided_regex": "("}, "unclosed group"),
    ({"guided_regex": ""}, "empty"),
    ({"guided_choice": []}, "empty"),
    ({"guided_choice": ["a", 1]}, "a list of strings"),
    ({"guided_grammar": 'root ::= "a'}, "end of input"),
    ({"grammar": 5}, "an object"),
    ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_regex and guided_choice"),
]


def short(value: Any) -> str:
    return json.dumps(value)[:60]


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"No <f>!")) as made:
        yield made


def assert_has_form(text: str, expected: Any) -> None:
    if isinstance(expected, str):
        assert text == expected
    else:
        jsonschema.validate(json.loads(text), expected)


@pytest.mark.parametrize(("body", "expected"), FORMS, ids=short)
def test_an_answer_has_its_form_streamed_or_whole(
    c: TestClient, body: dict[str, Any], expected: Any
) -> None:
    texts = []
    for path, prompt in ((CHAT, {"messages": MESSAGES}), (TEXT, {"prompt": "Hi"})):
        asked = {**prompt, **body, "max_tokens": 64}
        whole = c.post(path, json=asked)
        assert whole.status_code == 200, whole.text
        assert "x-jaxserve-ignored" not in whole.headers
        choice = whole.json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        texts.append(choice["message"]["content"] if path == CHAT else choice["text"])
        told = [e["choices"][0] for e in events(c.post(path, json={**asked, "stream": True}).text)]
        texts.append("".join(p["delta"].get("content", "") if path == CHAT else p["text"]
                             for p in told))  # fmt: skip
    assert len({*texts}) == 1
    assert_has_form(texts[0], expected)


@pytest.mark.parametrize(("body", "reason"), REFUSED, ids=short)
def test_a_form_that_can_not_be_had_is_refused_by_name(
    c: TestClient, body: dict[str, Any], reason: str
) -> None:
    for path, prompt in ((CHAT, {"messages": MESSAGES}), (TEXT, {"prompt": "Hi"})):
        answer = c.post(path, json={**prompt, **body, "stream": True})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["param"] == [*body][-1]
        assert reason in error["message"]


def test_a_schema_that_can_not_be_enforced_has_a_code_of_its_own(c: TestClient) -> None:
    body = {"messages": MESSAGES, "guided_json": {"if": {}}}
    assert c.post(CHAT, json=body).json()["error"]["code"] == "invalid_schema"


def test_every_sample_has_the_form(c: TestClient) -> None:
    body = {"messages": MESSAGES, "n": 3, "guided_json": RATING}
    for choice in c.post(CHAT, json=body).json()["choices"]:
        assert_has_form(choice["message"]["content"], RATING)


def test_what_is_cut_has_ended_by_length(c: TestClient) -> None:
    body = {"messages": MESSAGES, "max_tokens": 5, "guided_json": RATING}
    choice = c.post(CHAT, json=body).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == '{"rat'


def test_the_whole_answer_counts_and_is_scored(c: TestClient) -> None:
    body = {"messages": MESSAGES, "guided_choice": ["Na"], "logprobs": True}
    answer = c.post(CHAT, json=body).json()
    assert answer["usage"]["completion_tokens"] == 2
    assert [e["token"] for e in answer["choices"][0]["logprobs"]["content"]] == ["N", "a"]


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ({"type": "json", "value": RATING}, RATING),
        ({"type": "json_object", "value": RATING}, RATING),
        ({"type": "json_schema", "value": {"name": "r", "schema": RATING}}, RATING),
        ({"type": "json", "value": json.dumps(RATING)}, RATING),
        ({"type": "regex", "value": "N[a-z]"}, "No"),
        (None, "No <f>!"),
    ],
)
def test_tgi_holds_to_its_grammar(c: TestClient, grammar: Any, expected: Any) -> None:
    body = {"inputs": "Hi", "parameters": {"grammar": grammar, "max_new_tokens": 64}}
    whole = c.post("/generate", json=body)
    assert "x-jaxserve-ignored" not in whole.headers
    assert_has_form(whole.json()["generated_text"], expected)
    stream = c.post("/generate_stream", json=body).text.strip().split("\n\n")
    last = json.loads(stream[-1].removeprefix("data:"))
    assert_has_form(last["generated_text"], expected)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
@pytest.mark.parametrize(
    ("form", "expected"), [("json", ROOT), (RATING, RATING), ("", "No <f>!"), (None, "No <f>!")]
)
def test_ollama_holds_to_its_format(c: TestClient, path: str, form: Any, expected: Any) -> None:
    body = {"model": "tiny", "prompt": "Hi", "messages": MESSAGES, "format": form, "stream": False}
    answer = c.post(path, json=body).json()
    text = answer["response"] if "response" in answer else answer["message"]["content"]
    assert_has_form(text, expected)


def test_reasoning_comes_first_and_is_free() -> None:
    engine = ScriptedEngine(b"<think>Hm, {?</think>\n\nNo")
    with client(engine, formats=Formats(tools=HERMES, reasoning=THINK)) as c:
        body = {"messages": MESSAGES, "guided_json": RATING}
        message = c.post(CHAT, json=body).json()["choices"][0]["message"]
        assert message["reasoning"] == "Hm, {?"
        assert_has_form(message["content"], RATING)


TOOLS = [
    {"type": "function", "function": {"name": "rate", "parameters": RATING}},
    {"type": "function", "function": {"name": "now"}},
]
CALL = '<tool_call>\n{"name": "rate", "arguments": {"rating": 3}}\n</tool_call>'


@pytest.mark.parametrize("tag", ["", "<think>Hm</think>\n\n"])
def test_with_tools_an_answer_is_a_call_or_has_the_form(tag: str) -> None:
    body = {"messages": MESSAGES, "guided_json": RATING, "tools": TOOLS, "max_tokens": 200}
    formats = Formats(tools=HERMES, reasoning=THINK)
    for said, calls in (
        (f"{tag}{CALL}", 1),
        (f"{tag}{CALL}\n{CALL}", 2),
        (f'{tag}{{"rating": 99', 0),
    ):
        with client(ScriptedEngine(said.encode()), formats=formats) as c:
            choice = c.post(CHAT, json=body).json()["choices"][0]
            ollama = c.post("/api/chat", json={**body, "format": RATING, "stream": False}).json()
        message = choice["message"]
        assert len(message.get("tool_calls", [])) == len(ollama["message"].get("tool_calls", []))
        assert len(message.get("tool_calls", [])) == calls
        assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
        for call in message.get("tool_calls", []):
            assert_has_form(call["function"]["arguments"], RATING)
        if not calls:
            assert_has_form(message["content"], RATING)
            assert_has_form(ollama["message"]["content"], RATING)


@pytest.mark.parametrize("tools", TOOL_FORMATS, ids=lambda form: form.name)
def test_every_format_tells_calls_from_an_answer_with_the_form(tools: ToolFormat) -> None:
    tokenizer = MarkerTokenizer(MARKERS.get(tools.name, ()))
    known = limits(vocab_size=tokenizer.vocab_size)
    answers = Formats(tools=tools, reasoning=HARMONY_ANALYSIS if tools.channels else THINK)
    body = {"messages": MESSAGES, "tools": TOOLS[:1], "max_tokens": 300}

    def ask(script: Any, **more: Any) -> tuple[dict[str, Any], list[int]]:
        engine = ScriptedEngine(script, limits=known)
        with client(engine, formats=answers, tokenizer=tokenizer) as c:
            response = c.post(CHAT, json={**body, **more})
            assert response.status_code == 200, response.text
        choice: dict[str, Any] = response.json()["choices"][0]
        return choice, engine.submitted[0].output_ids

    opening = "<|channel|>commentary to=functions.rate <|constrain|>json" if tools.channels else ""
    script = [*tokenizer.encode(opening, add_special_tokens=False), *b"No"]
    call, call_ids = ask(script, tool_choice="required", parallel_tool_calls=False)
    either, _ = ask(call_ids, guided_json=RATING, parallel_tool_calls=False)
    assert called(either) == called(call) == ["rate"]
    lead = "<|channel|>final<|message|>" if tools.channels else ""
    said = tokenizer.encode(lead + '{"rating": 99', add_special_tokens=False)
    answer, _ = ask(said, guided_json=RATING)
    assert called(answer) == [] and answer["finish_reason"] == "stop"
    assert_has_form(answer["message"]["content"], RATING)


def called(choice: dict[str, Any]) -> list[str]:
    """The name of each call, whose arguments must be valid."""
    told = [call["function"] for call in choice["message"].get("tool_calls", [])]
    for function in told:
        assert_has_form(function["arguments"], RATING)
    return [function["name"] for function in told]


def test_a_bare_object_is_a_call_only_if_its_keys_say_so() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "rating": {"type": "integer"}},
        "required": ["name", "rating"],
        "additionalProperties": False,
    }
    said = '{"name": "rate", "rating": 3}'
    body = {"messages": MESSAGES, "guided_json": schema, "tools": TOOLS, "max_tokens": 200}
    with client(ScriptedEngine(said.encode()), formats=Formats(tools=LLAMA_JSON)) as c:
        choice = c.post(CHAT, json=body).json()["choices"][0]
    assert choice["message"]["content"] == said and choice["finish_reason"] == "stop"


def test_a_form_does_not_go_with_forced_calls_and_must_be_json_beside_calls() -> None:
    body = {"messages": MESSAGES, "guided_json": RATING, "tools": TOOLS}
    refused = [
        (HERMES, {**body, "tool_choice": "required"}, "guided_json"),
        (HERMES, {**body, "guided_json": None, "guided_regex": "<+"}, "guided_regex"),
    ]
    for tools, asked, param in refused:
        with client(ScriptedEngine(b"No"), formats=Formats(tools=tools)) as c:
            answer = c.post(CHAT, json=asked)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_without_a_choice_of_tools_the_form_is_all(c: TestClient) -> None:
    body = {"messages": MESSAGES, "guided_json": RATING, "tools": TOOLS, "tool_choice": "none"}
    answer = c.post(CHAT, json=body).json()["choices"][0]
    assert_has_form(answer["message"]["content"], RATING)


def test_a_schema_as_deep_as_json_may_be_is_no_error_of_ours(c: TestClient) -> None:
    deep = "[" * 900 + "]" * 900
    for part in (f'{{"items": {{"const": {deep}}}}}', f'{{"anyOf": {deep}}}'):
        body = f'{{"messages": [{{"role": "user", "content": "a"}}], "guided_json": {part}}}'
        assert c.post(CHAT, content=body).status_code == 400


def test_a_response_has_its_text_format(c: TestClient) -> None:
    def ask(schema: Any) -> Any:
        form = {"type": "json_schema", "name": "r", "schema": schema}
        return c.post("/v1/responses", json={"input": "Hi", "text": {"format": form}})

    answer = ask(RATING).json()
    assert_has_form(answer["output"][-1]["content"][0]["text"], RATING)
    refused = ask({"not": {}})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "text.format"
