"""The official JavaScript client against the shipped model; tests/node/ holds its side."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.conftest import Live
from tests.live.node import run_node

pytestmark = pytest.mark.client("openai-node", "npm:openai")


@pytest.fixture(scope="module")
def results(live: Live) -> Any:
    return run_node("client.mjs", f"{live.url}/v1")


@pytest.fixture(scope="module")
def helped(live: Live) -> Any:
    return run_node("helpers.mjs", f"{live.url}/v1")


def test_chat_streamed_and_not(results: dict[str, Any]) -> None:
    assert "Paris" in results["chat"]
    assert results["streamed"] == results["chat"]


def test_completion(results: dict[str, Any]) -> None:
    assert "Paris" in results["completion"]


def test_models(results: dict[str, Any]) -> None:
    assert results["models"] == ["tiny-chat"]


def test_an_error_has_its_class_status_and_code(results: dict[str, Any]) -> None:
    assert results["error"] == {
        "name": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "param": "model",
    }


def test_a_cancelled_stream_frees_its_pages(results: dict[str, Any], live: Live) -> None:
    assert results["cancelled_after"] >= 3
    live.wait_until_idle()


def test_the_helper_of_streams_accumulates(helped: dict[str, Any]) -> None:
    deltas, final = helped["streamed"]
    assert "Paris" in final
    assert deltas == final


def test_parse_gives_what_the_schema_says(helped: dict[str, Any]) -> None:
    assert 0 <= helped["parsed"]["result"] <= 99


def test_run_tools_streamed_and_not(helped: dict[str, Any]) -> None:
    assert helped["asked"] == ["Paris", "Paris"]
    assert "sunny" in helped["ran"]
    assert helped["ran_streamed"] == helped["ran"]


def test_responses_streamed_and_not(helped: dict[str, Any]) -> None:
    told = helped["responses"]
    assert "Paris" in told["whole"]
    assert told["streamed"] == told["whole"]
    assert told["types"][0] == "response.created"
    assert told["types"][-1] == "response.completed"
    assert 0 <= told["parsed"]["result"] <= 99
