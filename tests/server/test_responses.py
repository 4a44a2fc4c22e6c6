"""POST /v1/responses: items in, items out, and a stream of events in order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from starlette.testclient import TestClient

from tests.server.apps import client, live
from tests.text_fakes import ScriptedEngine

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def ask(c: TestClient, **body: Any) -> Any:
    response = c.post(PATH, json={"input": "hi", **body})
    assert response.status_code == 200, response.text
    return response.json()


def stream(c: TestClient, **body: Any) -> list[Any]:
    """The events, each under a line with its type, numbered from 0."""
    response = c.post(PATH, json={"input": "hi", "stream": True, **body})
    assert response.status_code == 200, response.text
    frames = response.text.strip().split("\n\n")
    told = []
    for number, frame in enumerate(frames):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        told.append(event)
    return told


def fault(**body: Any) -> tuple[str | None, str | None]:
    with client(ScriptedEngine(b"a")) as c:
        response = c.post(PATH, json={"input": "hi", **body})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error["param"], error["code"]


def prompt_of(**body: Any) -> str:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        ask(c, **body)
    return bytes(i for i in engine.submitted[0].prompt_ids if i < 256).decode()


def test_an_answer_is_a_message_item() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        answer = ask(c, instructions="be brief", metadata={"a": "b"}, temperature=0.5)
    (item,) = answer["output"]
    assert (answer["object"], answer["status"], answer["model"]) == (
        "response",
        "completed",
        "tiny",
    )
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"][0]["text"] == "ab"
    assert (answer["metadata"], answer["temperature"]) == ({"a": "b"}, 0.5)
    usage = answer["usage"]
    assert usage["output_tokens"] == 3
    assert usage["total_tokens"] == usage["input_tokens"] + 3
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


def test_an_answer_that_is_cut_is_incomplete() -> None:
    with client(ScriptedEngine(b"abcdef")) as c:
        answer = ask(c, max_output_tokens=2)
        last = stream(c, max_output_tokens=2)[-1]
    assert (answer["status"], answer["output"][0]["status"]) == ("incomplete", "incomplete")
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")


def test_the_events_of_a_plain_answer_come_in_order() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        told = stream(c)
    kinds = [event["type"].removeprefix("response.") for event in told]
    assert list(dict.fromkeys(kinds)) == [  # text may come in one piece or several
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert told[0]["response"]["output"] == [] and told[0]["response"]["usage"] is None
    assert "".join(e.get("delta", "") for e in told) == told[-4]["text"] == "ab"
    assert told[-1]["response"]["output"] == [told[-2]["item"]]


@pytest.mark.parametrize("chunks", [(1,), (3, 7), (1000,)])
def test_calls_are_items_of_their_own(chunks: tuple[int, ...]) -> None:
    said = f"Let me see.{CALL}{CALL}"
    with client(ScriptedEngine(said.encode(), chunks=chunks)) as c:
        whole = ask(c, tools=[TOOL])
        told = stream(c, tools=[TOOL])
    assert [item["type"] for item in whole["output"]] == ["message", *["function_call"] * 2]
    for item in whole["output"][1:]:
        assert (item["name"], json.loads(item["arguments"])) == ("add", {"a": 1})
    arguments = [
        "".join(e["delta"] for e in told if e.get("output_index") == index and "delta" in e)
        for index in (1, 2)
    ]
    streamed = told[-1]["response"]["output"]
    assert arguments == [item["arguments"] for item in streamed[1:]]
    assert arguments == [item["arguments"] for item in whole["output"][1:]]
    done = [e for e in told if e["type"] == "response.function_call_arguments.done"]
    assert [(e["name"], e["arguments"]) for e in done] == [("add", a) for a in arguments]


def test_a_conversation_of_items_reaches_the_template() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "2"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "three"},
    ]
    prompt = prompt_of(input=items, instructions="be brief", tools=[TOOL])
    places = [prompt.index(text) for text in ("be brief", "one", "2", "three")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"truncation": "maybe"}, "truncation"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ],
    ids=str,
)
def test_what_can_not_be_done_is_named_in_the_words_of_this_route(
    body: dict[str, Any], param: str
) -> None:
    assert fault(**body)[0] == param


def test_what_has_no_effect_is_named() -> None:
    with client(ScriptedEngine(b"a")) as c:
        body = {"input": "hi", "store": True, "user": "me", "text": {"verbosity": "low"}}
        header = c.post(PATH, json=body).headers["x-jaxserve-ignored"]
        assert c.post(PATH, json={"input": "hi"}).headers.get("x-jaxserve-ignored") is None
    assert header == "user, store, text.verbosity"


def test_a_failure_in_the_middle_is_an_event() -> None:
    with client(ScriptedEngine(b"abc", fail_at=2)) as c:
        told = stream(c)
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"]["code"] == "server_error"


def test_log_probabilities_come_with_the_text() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        part = ask(c, top_logprobs=2)["output"][0]["content"][0]
        plain = ask(c)["output"][0]["content"][0]
    assert [entry["token"] for entry in part["logprobs"]][:2] == ["a", "b"]
    assert len(part["logprobs"][0]["top_logprobs"]) == 2
    assert plain["logprobs"] == []


def test_the_official_client_reads_both_ways() -> None:
    said = f"One moment.{CALL}"
    with live(ScriptedEngine(said.encode(), chunks=(4,))) as address:
        sdk = OpenAI(base_url=f"{address}/v1", api_key="k")
        whole = sdk.responses.create(model="tiny", input="hi", tools=[TOOL])  # type: ignore[list-item]
        with sdk.responses.stream(model="tiny", input="hi", tools=[TOOL]) as events:  # type: ignore[list-item]
            kinds = [event.type for event in events]
            final = events.get_final_response()
        sdk.close()
    for response in (whole, final):
        message, call = response.output
        assert isinstance(message, ResponseOutputMessage)
        assert isinstance(call, ResponseFunctionToolCall)
        assert response.output_text == "One moment."
        assert call.arguments == '{"a": 1}'
        assert response.usage and response.usage.output_tokens == len(said) + 1
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_a_named_tool_is_called() -> None:
    choice = {"type": "function", "name": "add"}
    with client(ScriptedEngine(b"No.")) as c:
        answer = ask(c, tools=[TOOL], tool_choice=choice, max_output_tokens=100)
    (item,) = answer["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "add", "completed")
    assert answer["tool_choice"] == choice


def test_a_form_of_text_is_let_be_where_a_call_is_forced() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    text = {"format": {"type": "json_schema", "name": "add", "schema": schema}}
    body = {"input": "hi", "tools": [TOOL], "tool_choice": "required", "text": text}
    with client(ScriptedEngine(CALL.encode())) as c:
        response = c.post(PATH, json=body)
    assert [item["type"] for item in response.json()["output"]] == ["function_call"]
    assert response.headers["x-jaxserve-ignored"] == "text.format"
