"""The routes that are not generation, and what stands before all routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.engine.metrics import EngineHealth
from jaxserve.errors import CheckpointError, ConfigError, EngineFailed
from tests.server.apps import CHAT, MESSAGES, MODEL, TEXT, client, make_app
from tests.text_fakes import ScriptedEngine

WELL = EngineHealth(alive=True, failure=None, stalled_s=0.0)


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"a")) as test_client:
        yield test_client


def error_of(response: Any) -> tuple[int, str, str, str | None]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert isinstance(response.json()["error_type"], str)
    return response.status_code, error["type"], error["code"], error["param"]


def test_root_is_a_line_of_text(c: TestClient) -> None:
    assert c.get("/").text == "jaxserve is running\n"
    assert c.get("/").headers["content-type"].startswith("text/plain")
    assert c.head("/").status_code == 200


def test_health_is_ok(c: TestClient) -> None:
    assert (c.get("/health").status_code, c.get("/health").json()) == (200, {"status": "ok"})
    assert c.head("/health").status_code == 200


@pytest.mark.parametrize(
    "health",
    [
        EngineHealth(alive=False, failure="the device is gone", stalled_s=0.0),
        EngineHealth(alive=False, failure=None, stalled_s=0.0),
        EngineHealth(alive=True, failure=None, stalled_s=61.0),
    ],
)
def test_health_is_503_when_the_engine_is_dead_or_stalled(health: EngineHealth) -> None:
    with client(ScriptedEngine(b"a", fixed_health=health)) as c:
        response = c.get("/health")
        assert c.get("/").status_code == 503
    assert response.status_code == 503
    assert response.json()["error_type"] == "healthcheck"
    assert isinstance(response.json()["error"], str)


def test_draining_server_is_unhealthy_and_refuses_new_work() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        c.app.state.server.draining = True  # type: ignore[attr-defined]
        refused = c.post(CHAT, json={"messages": MESSAGES})
        assert c.get("/health").status_code == 503
        assert c.get("/v1/models").status_code == 200
    assert error_of(refused) == (503, "service_unavailable", "draining", None)
    assert refused.headers["retry-after"] == "5"
    assert "x-should-retry" not in refused.headers


def test_dead_engine_is_a_503_that_sdks_do_not_retry() -> None:
    with client(ScriptedEngine(b"a", refuse=EngineFailed("the engine has stopped"))) as c:
        for stream in (False, True):
            response = c.post(CHAT, json={"messages": MESSAGES, "stream": stream})
            assert error_of(response) == (503, "service_unavailable", "engine_dead", None)
            assert response.headers["x-should-retry"] == "false"
            assert response.headers["retry-after"] == "5"


def test_unexpected_error_tells_the_request_id_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client(ScriptedEngine(b"a", refuse=ZeroDivisionError("/secret/path"))) as c:
        response = c.post(CHAT, json={"messages": MESSAGES}, headers={"x-request-id": "abc"})
    assert error_of(response) == (500, "server_error", "internal_error", None)
    assert "secret" not in response.text and "abc" in response.json()["error"]["message"]
    assert response.headers["x-request-id"] == "abc"
    assert "/secret/path" in caplog.text


def test_models_are_listed_with_the_primary_first(c: TestClient) -> None:
    listed = c.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["tiny", "small"]
    card = listed["data"][0]
    assert {k: card[k] for k in ("object", "created", "owned_by", "root", "max_model_len")} == {
        "object": "model",
        "created": MODEL.created,
        "owned_by": "jaxserve",
        "root": "org/tiny-hub",
        "max_model_len": 4096,
    }
    assert len(card["permission"]) == 1


@pytest.mark.parametrize("name", ["tiny", "small", "org/tiny-hub", "tiny:latest"])
def test_a_model_is_shown_by_each_of_its_names(c: TestClient, name: str) -> None:
    assert c.get(f"/v1/models/{name}").json()["id"] == name


@pytest.mark.parametrize("name", ["tgi", "dummy", "default"])
def test_an_alias_shows_the_primary_model(c: TestClient, name: str) -> None:
    assert c.get(f"/v1/models/{name}").json()["id"] == "tiny"


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_unknown_model_is_a_404_that_names_what_is_served(c: TestClient, path: str) -> None:
    response = c.post(path, json={"messages": MESSAGES, "prompt": "a", "model": "gpt-0"})
    assert error_of(response) == (404, "not_found_error", "model_not_found", "model")
    assert "tiny, small" in response.json()["error"]["message"]
    assert error_of(c.get("/v1/models/no/such")) == error_of(response)


@pytest.mark.parametrize("path", ["/nothing", "/v1/chat/completions/", "/v1", "/V1/models"])
def test_unknown_path_is_a_json_404_without_redirect(c: TestClient, path: str) -> None:
    response = c.post(path, json={}, follow_redirects=False)
    assert error_of(response) == (404, "not_found_error", "unknown_route", None)
    assert response.headers["x-request-id"]


def test_allow_names_every_method_of_a_path_that_several_families_share(c: TestClient) -> None:
    allowed = c.put("/").headers["allow"].split(", ")
    assert sorted(allowed) == ["GET", "HEAD", "POST"]
    assert c.head("/").status_code == c.get("/").status_code == 200


def test_wrong_method_is_a_json_405_with_the_right_one(c: TestClient) -> None:
    response = c.get(CHAT)
    assert error_of(response) == (405, "invalid_request_error", "method_not_allowed", None)
    assert response.headers["allow"] == "POST"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'{"temperature": NaN}', b'{"a": 1e999}', b"\xff", b'"\\ud800"'],
)
def test_body_that_is_no_json_object_is_a_400(c: TestClient, body: bytes) -> None:
    for path in (CHAT, TEXT):
        response = c.post(path, content=body, headers={"content-type": "application/json"})
        assert error_of(response) == (400, "invalid_request_error", "invalid_json", None)


def test_any_content_type_will_do(c: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert c.post(TEXT, content=b'{"prompt": "a"}', headers=headers).status_code == 200


def test_sane_request_id_is_kept_and_another_replaced(c: TestClient) -> None:
    assert (
        c.get("/health", headers={"x-request-id": "a" * 128}).headers["x-request-id"] == "a" * 128
    )
    for bad in ("", "a" * 129, "a b", "tab\there"):
        given = c.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
        assert given != bad and len(given) == 32


def test_body_over_the_limit_is_a_413_with_and_without_a_declared_length() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(payload_limit=1000)) as c:
        declared = c.post(TEXT, content=b"x" * 1001)
        streamed = c.post(TEXT, content=(b"x" * 100 for _ in range(11)))
        exact = c.post(TEXT, json={"prompt": "x" * (1000 - len('{"prompt":""}'))})
    for response in (declared, streamed):
        assert error_of(response) == (413, "invalid_request_error", "payload_too_large", None)
        assert "1000" in response.json()["error"]["message"]
        assert response.headers["x-request-id"]
    assert exact.status_code == 200


KEYS = ServerConfig(api_key=("Sesame", "other"))


@pytest.mark.parametrize(
    "header", ["Bearer Sesame", "bearer Sesame", "BEARER  Sesame", "Bearer other"]
)
def test_known_key_comes_in(header: str) -> None:
    with client(ScriptedEngine(b"a"), config=KEYS) as c:
        assert c.get("/v1/models", headers={"authorization": header}).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer sesame", "Basic Sesame", "Sesame", "Bearer Sesame x", "Bearer é"],
)
def test_unknown_key_is_a_401_everywhere_but_at_the_probes(header: str) -> None:
    headers = {b"authorization": header.encode("latin-1")}
    with client(ScriptedEngine(b"a"), config=KEYS) as c:
        refused = [
            c.get("/v1/models", headers=headers),
            c.post(CHAT, content=b"{", headers=headers),
        ]
        refused += [c.get("/nothing", headers=headers)]
        assert c.get("/health", headers=headers).status_code == 200
        assert c.get("/", headers=headers).status_code == 200
    for response in refused:
        assert error_of(response) == (401, "authentication_error", "invalid_api_key", None)
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-request-id"]


def test_browser_preflight_passes_without_a_key() -> None:
    config = ServerConfig(api_key=("k",), cors_allow_origin=("https://a.example",))
    asks = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-request-id,x-stainless-os",
    }
    with client(ScriptedEngine(b"a"), config=config) as c:
        preflight = c.options(CHAT, headers=asks)
        refused = c.post(CHAT, json={}, headers={"origin": "https://a.example"})
        elsewhere = c.options(CHAT, headers={**asks, "origin": "https://b.example"})
    assert preflight.status_code == 200
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    assert elsewhere.status_code == 400


def test_model_defaults_out_of_range_stop_the_start() -> None:
    with pytest.raises(CheckpointError, match=r"generation_config.json: temperature = -1"):
        make_app(ScriptedEngine(b"a"), generation_config={"temperature": -1})


def test_keys_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# of the web team\nfirst  # rotates in May\n\nsecond\n")
    config = ServerConfig(api_key=("Sesame",), api_key_file=path)
    with client(ScriptedEngine(b"a"), config=config) as c:
        for key in ("Sesame", "first", "second"):
            headers = {"Authorization": f"Bearer {key}"}
            assert c.get("/v1/models", headers=headers).status_code == 200
        for key in ("", "of the web team", "first  # rotates in May"):
            headers = {"Authorization": f"Bearer {key}"}
            assert c.get("/v1/models", headers=headers).status_code == 401


def test_a_key_file_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("# nothing\n")
    for name, why in (("none", "holds no key"), ("missing", "cannot read")):
        with pytest.raises(ConfigError, match=why):
            make_app(ScriptedEngine(b"a"), config=ServerConfig(api_key_file=tmp_path / name))


def test_a_strict_server_refuses_what_has_no_effect() -> None:
    body = {"messages": MESSAGES, "frobnicate": 1, "user": "me"}
    with client(ScriptedEngine(b"a"), config=ServerConfig(strict=True)) as c:
        refused = c.post(CHAT, json=body)
        ollama = c.post("/api/chat", json={"messages": MESSAGES, "options": {"num_gpu": 1}})
        fine = c.post(CHAT, json={"messages": MESSAGES})
    assert refused.status_code == 400
    assert "frobnicate, user" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "frobnicate"
    assert ollama.status_code == 400 and "num_gpu" in ollama.json()["error"]
    assert fine.status_code == 200
