"""The document says what the server does: its paths, its bodies, its errors; the page shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from jaxserve.server.routes import ROWS
from tests.server.apps import MESSAGES, client
from tests.text_fakes import ScriptedEngine

BODIES: list[tuple[str, dict[str, Any], bool]] = [
    ("ChatBody", {"messages": MESSAGES, "stop": "a", "seed": None, "tools": None}, True),
    ("ChatBody", {"messages": MESSAGES, "stop": ["a"], "tool_choice": {"type": "function"}}, True),
    ("ChatBody", {"messages": []}, False),
    ("ChatBody", {"messages": MESSAGES, "temperature": 3}, False),
    ("CompletionBody", {"prompt": "a", "n": 2}, True),
    ("CompletionBody", {"prompt": [[1, 2], [3]]}, True),
    ("CompletionBody", {"prompt": 5}, False),
    ("CompletionBody", {}, False),
    ("GenerateBody", {"inputs": "a", "parameters": {"top_p": 1.0}}, True),
    ("GenerateBody", {"inputs": ""}, False),
    ("OllamaChatBody", {"options": {"num_predict": -1}}, True),
]


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"a")) as test_client:
        yield test_client


@pytest.fixture(scope="module")
def document(c: TestClient) -> Any:
    return c.get("/openapi.json").json()


def test_every_route_is_described(document: Any) -> None:
    for row in ROWS:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", row.path)
        for method in row.methods:
            operation = document["paths"][path][method.lower()]
            assert operation["summary"], f"{row.endpoint} has no docstring"
            assert bool(operation["security"]) != row.open
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(document: Any) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert names and names <= set(document["components"]["schemas"])


@pytest.mark.parametrize(("name", "body", "fits"), BODIES, ids=str)
def test_schemas_take_what_the_server_takes(
    document: Any, name: str, body: dict[str, Any], fits: bool
) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    assert jsonschema.Draft202012Validator(schema).is_valid(body) == fits


def test_the_page_needs_nothing_from_elsewhere(c: TestClient) -> None:
    response = c.get("/docs")
    page = response.text
    assert response.headers["content-type"].startswith("text/html")
    for row in ROWS:
        assert row.path.replace(":path", "") in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "max_completion_tokens" in page and "list of ChatMessage" in page


def test_both_need_no_key_and_one_has_tgis_path() -> None:
    from jaxserve.config import ServerConfig

    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        assert c.get("/docs").status_code == 200
        assert c.get("/openapi.json").json() == c.get("/api-doc/openapi.json").json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/invocations", {"inputs": ""}),
        ("/invocations", {"messages": []}),
        ("/rerank", {"query": "a", "documents": 1}),
        ("/rerank", {"query": "a", "texts": 1}),
        ("/tokenize", {"inputs": 1}),
        ("/tokenize", {"messages": 1}),
    ],
    ids=str,
)
def test_errors_of_a_path_that_several_families_share_are_described(
    c: TestClient, document: Any, path: str, body: dict[str, Any]
) -> None:
    told = document["paths"][path]["post"]["responses"]["default"]["content"]
    schema = told["application/json"]["schema"] | {"components": document["components"]}
    answer = c.post(path, json=body)
    assert 400 <= answer.status_code < 500
    jsonschema.Draft202012Validator(schema).validate(answer.json())
