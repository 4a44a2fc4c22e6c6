"""Responses are counted by route, whoever answered, and no path of a client becomes a label."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.server.metrics.measures import ServerMeasures
from tests.server.apps import CHAT, MESSAGES, TEXT, client
from tests.text_fakes import ScriptedEngine


@pytest.fixture
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"a")) as test_client:
        yield test_client


def measures_of(c: TestClient) -> ServerMeasures:
    return c.app.state.server.measures  # type: ignore[attr-defined]


def test_a_route_is_named_by_its_template(c: TestClient) -> None:
    for name in ("tiny", "small", "no/such"):
        c.get(f"/v1/models/{name}")
    assert measures_of(c).responses == {
        ("/v1/models/{name:path}", "GET", "2xx"): 2,
        ("/v1/models/{name:path}", "GET", "4xx"): 1,
    }


def test_unknown_paths_and_methods_are_one_label(c: TestClient) -> None:
    for path in ("/a", "/b", "/metrics/"):
        c.get(path)
    c.request("BREW", CHAT)
    assert measures_of(c).responses == {("none", "GET", "4xx"): 3, (CHAT, "other", "4xx"): 1}


def test_what_a_layer_before_the_routes_refuses_is_counted() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        c.get("/v1/models")
        assert measures_of(c).responses == {("none", "GET", "4xx"): 1}


def test_a_stream_and_a_failure_are_counted() -> None:
    with client(ScriptedEngine(b"a", refuse=ZeroDivisionError("x"))) as c:
        c.post(TEXT, json={"prompt": "a"})
        assert measures_of(c).responses == {(TEXT, "POST", "5xx"): 1}
    with client(ScriptedEngine(b"a")) as c:
        c.post(CHAT, json={"messages": MESSAGES, "stream": True})
        assert measures_of(c).responses == {(CHAT, "POST", "2xx"): 1}
        assert measures_of(c).response_s[CHAT, "POST"].count == 1
