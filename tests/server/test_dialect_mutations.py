"""Every field of the routes that are not OpenAI's, mutated: no 5xx, no hang, errors in style."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.server.ollama.models import ShowBody
from jaxserve.server.ollama.schema import (
    REFUSED,
    REFUSED_OPTIONS,
    OllamaChatBody,
    OllamaGenerateBody,
    Options,
)
from jaxserve.server.tgi.schema import GenerateBody, Parameters
from jaxserve.server.tokenize import ContentBody, ConversationBody, DetokenizeBody, TextBody
from tests.server.apps import MESSAGES, client
from tests.server.test_mutations import MESSAGE_FIELDS, NUMBERS_NO_JSON_HAS, UNKNOWN, VALUES, dumps
from tests.text_fakes import ScriptedEngine


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"ab")) as test_client:
        yield test_client


TGI_PARAMETERS = [*Parameters.model_fields, *UNKNOWN]
OPTIONS = [*Options.model_fields, *(r.field for r in REFUSED_OPTIONS), *UNKNOWN, "num_ctx"]
OLLAMA_REFUSED = [refusal.field for refusal in REFUSED]

GENERATE = {"inputs": "hi", "parameters": {"max_new_tokens": 4}}
SHORT = {"num_predict": 4}

# path, a body that is answered, and the fields to mutate
TOP = [
    ("/generate", GENERATE, [*GenerateBody.model_fields, *UNKNOWN]),
    ("/generate_stream", GENERATE, ["parameters"]),
    ("/", GENERATE, ["inputs", "stream"]),
    ("/invocations", GENERATE, ["inputs", "messages", "prompt", "input"]),
    ("/vertex", {"instances": [GENERATE]}, ["instances", "parameters"]),
    ("/tokenize", {"inputs": "hi"}, ["inputs", "parameters"]),
    ("/tokenize", {"prompt": "hi"}, [*TextBody.model_fields]),
    ("/tokenize", {"messages": MESSAGES}, [*ConversationBody.model_fields]),
    ("/tokenize", {"content": "hi"}, [*ContentBody.model_fields]),
    ("/detokenize", {"tokens": [97]}, [*DetokenizeBody.model_fields]),
    ("/chat_tokenize", {"messages": MESSAGES}, ["messages", "tools", "model", "documents"]),
    ("/api/show", {"model": "tiny"}, [*ShowBody.model_fields]),
    (
        "/api/generate",
        {"prompt": "hi", "options": SHORT},
        [*OllamaGenerateBody.model_fields, *OLLAMA_REFUSED, *UNKNOWN],
    ),
    (
        "/api/chat",
        {"messages": MESSAGES, "options": SHORT},
        [*OllamaChatBody.model_fields, *OLLAMA_REFUSED],
    ),
]
CASES = [(path, base, field) for path, base, fields in TOP for field in fields]
CASES_IDS = [f"{path}-{field!r}" for path, _, field in CASES]


def check(c: TestClient, path: str, content: bytes) -> None:
    response = c.post(path, content=content)
    assert response.status_code in (200, 400, 404, 422), (content[:200], response.text[:500])
    if response.status_code != 200:
        assert response.json()["error"]
        assert "Traceback" not in response.text and "/work" not in response.text


@pytest.mark.parametrize(("path", "base", "field"), CASES, ids=CASES_IDS)
def test_any_value_of_a_field_is_answered_or_refused(
    c: TestClient, path: str, base: dict[str, Any], field: str
) -> None:
    for value in VALUES:
        check(c, path, dumps({**base, field: value}))
    for literal in NUMBERS_NO_JSON_HAS:
        content = dumps({**base, field: "@"}).replace(b'"@"', literal)
        assert c.post(path, content=content).status_code == 400


def in_parameters(field: str, value: Any) -> dict[str, Any]:
    return {"inputs": "hi", "parameters": {"max_new_tokens": 4, field: value}}


def in_options(field: str, value: Any) -> dict[str, Any]:
    return {"prompt": "hi", "options": {**SHORT, field: value}}


NESTED: list[tuple[str, Callable[[str, Any], dict[str, Any]], str]] = [
    *(("/generate", in_parameters, field) for field in TGI_PARAMETERS),
    *(("/api/generate", in_options, field) for field in OPTIONS),
]


@pytest.mark.parametrize(("path", "body", "field"), NESTED)
def test_any_value_within_parameters_and_options_is_answered_or_refused(
    c: TestClient, path: str, body: Callable[[str, Any], dict[str, Any]], field: str
) -> None:
    for value in VALUES:
        check(c, path, dumps(body(field, value)))


@pytest.mark.parametrize("field", [*MESSAGE_FIELDS, "images", "thinking", "tool_name"])
def test_any_value_in_an_ollama_message_is_answered_or_refused(c: TestClient, field: str) -> None:
    for value in VALUES:
        message = {"role": "assistant", "content": "hi", field: value}
        check(c, "/api/chat", dumps({"messages": [message], "options": SHORT}))
