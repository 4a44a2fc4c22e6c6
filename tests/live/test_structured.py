"""Answers with a form from the real engine: always valid, and no different in company."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

from tests.live.conftest import Live
from tests.text.schemas import SCHEMAS


class Step(BaseModel):
    explanation: str = Field(max_length=30)
    done: bool


class Plan(BaseModel):
    title: str = Field(min_length=3, max_length=20)
    mood: Literal["good", "bad"]
    rating: int = Field(ge=1, le=5)
    steps: list[Step] = Field(min_length=1, max_length=2)
    note: str | None = Field(max_length=10)


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def ask(live: Live, text: str = "Hello!", **options: Any) -> Any:
    options = {"max_tokens": 400, "temperature": 0.0} | options
    return (
        live.client()
        .chat.completions.create(model="tiny-chat", messages=user(text), **options)
        .choices[0]
    )


def of_schema(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    return {"response_format": form}


@pytest.mark.client("openai-python", "openai")
def test_openai_parse_gives_the_pydantic_model(live: Live) -> None:
    answer = live.client().chat.completions.parse(
        model="tiny-chat", messages=user("Plan a trip."), response_format=Plan, max_tokens=600
    )
    message = answer.choices[0].message
    assert isinstance(message.parsed, Plan)
    assert answer.choices[0].finish_reason == "stop"
    with live.client().chat.completions.stream(
        model="tiny-chat", messages=user("Plan a trip."), response_format=Plan, max_tokens=600
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Plan)


def test_json_mode_with_the_schema_in_the_prompt(live: Live) -> None:
    answer = ask(live, "Reply in JSON.", response_format={"type": "json_object"}, temperature=1.0,
                 seed=3)  # fmt: skip
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


def test_every_completed_answer_satisfies_its_schema(live: Live) -> None:
    """All schemas at once, drawn hot, so that the model's habits do not help."""

    def answer(name: str) -> tuple[str, Any]:
        return name, ask(
            live, f"Give me {name}.", temperature=1.3, seed=7, **of_schema(SCHEMAS[name])
        )

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer, SCHEMAS))
    completed = [(name, a.message.content) for name, a in answers if a.finish_reason == "stop"]
    for name, text in completed:
        schema = SCHEMAS[name]
        jsonschema.validators.validator_for(schema)(schema).validate(json.loads(text))
    assert len(completed) > len(SCHEMAS) * 0.6, "most come to their end within the limit"


def test_answers_in_a_batch_with_free_ones_are_those_alone(live: Live) -> None:
    asked: list[dict[str, Any]] = [
        {"text": "What is the capital of France?"},
        {"text": "Rate it.", **of_schema(SCHEMAS["bounded integer"])},
        {"text": "A plate.", **of_schema(SCHEMAS["pattern"]), "temperature": 1.0, "seed": 5},
        {"text": "Choose.", "extra_body": {"guided_choice": ["red", "green", "blue"]}},
        {"text": "Count from 3 to 9."},
        {"text": "When?", "extra_body": {"guided_regex": r"\d{4}-\d{2}-\d{2}"}, "seed": 9},
        {"text": "Say on.", **of_schema(SCHEMAS["flat record"]), "max_tokens": 30},
    ]

    def answer(options: dict[str, Any]) -> tuple[str, str]:
        choice = ask(live, **options)
        return choice.message.content, choice.finish_reason

    alone = [answer(options) for options in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(answer, asked)) == alone
    assert 1 <= json.loads(alone[1][0])["rating"] <= 5
    assert alone[3][0] in ("red", "green", "blue")
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", alone[5][0])


def test_a_streamed_answer_is_the_whole_one(live: Live) -> None:
    options = of_schema(SCHEMAS["chain of thought"]) | {"max_tokens": 60, "temperature": 0.0}
    whole = ask(live, "Think.", **options)
    stream = live.client().chat.completions.create(
        model="tiny-chat", messages=user("Think."), stream=True, **options
    )
    chunks = [chunk.choices[0] for chunk in stream]
    assert "".join(c.delta.content or "" for c in chunks) == whole.message.content
    assert chunks[-1].finish_reason == whole.finish_reason


def test_samples_of_one_schema_differ_and_are_all_valid(live: Live) -> None:
    answer = live.client().chat.completions.create(
        model="tiny-chat", messages=user("A plate."), n=6, temperature=1.5, seed=1,
        max_tokens=60, **of_schema(SCHEMAS["pattern"]),
    )  # fmt: skip
    texts = [choice.message.content for choice in answer.choices]
    for text in texts:
        jsonschema.validate(json.loads(text), SCHEMAS["pattern"])
    assert len({*texts}) > 1


def test_min_tokens_and_bans_give_way_to_the_form(live: Live) -> None:
    choice = ask(live, extra_body={"guided_choice": ["yes"], "min_tokens": 20, "ignore_eos": True})
    assert (choice.message.content, choice.finish_reason) == ("yes", "stop")
    longer = ask(live, extra_body={"guided_regex": "a+", "min_tokens": 12}, max_tokens=40)
    assert re.fullmatch("a+", longer.message.content)


def test_a_schema_that_can_not_be_enforced_is_refused_while_others_go_on(live: Live) -> None:
    with pytest.raises(openai.BadRequestError, match="'not' at #/properties/a") as caught:
        ask(live, **of_schema({"properties": {"a": {"not": {}}}}))
    assert (caught.value.param, caught.value.code) == ("response_format", "invalid_schema")
