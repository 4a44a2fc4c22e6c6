"""Bodies made from our own OpenAPI document: no route fails, and each answers as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from jaxserve.server.openapi import openapi_document
from jaxserve.server.routes import ROWS
from tests.server.apps import client
from tests.server.schema_values import values_of
from tests.server.test_mutations import dumps
from tests.text_fakes import ScriptedEngine

DOCUMENT = openapi_document(ROWS)
OPERATIONS = [
    (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if "requestBody" in operation
]


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"ab", chunks=(3, 1))) as test_client:
        yield test_client


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_any_body_is_answered_as_the_document_says(c: TestClient, method: str, path: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    answers = operation["responses"]

    @settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(body=values_of(schema, DOCUMENT["components"]["schemas"]))
    def check(body: Any) -> None:
        answer = c.request(method, path, content=dumps(body))
        assert answer.status_code < 500, answer.text
        documented = answers.get(str(answer.status_code), answers["default"])["content"]
        assert answer.headers["content-type"].partition(";")[0] in documented

    check()
