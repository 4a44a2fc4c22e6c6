"""Adapters over HTTP: chosen by `model`, listed, loaded and unloaded where that is switched on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.errors import AdapterNotFound, CheckpointError
from tests.server.apps import CHAT, MESSAGES, MODEL, TEXT, client
from tests.text_fakes import ScriptedEngine

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@dataclass
class Use:
    place: int
    number: int


@dataclass
class FakeAdapters:
    """Adapters that are names alone; a folder named broken fits no model."""

    loaded: dict[str, Use] = field(default_factory=lambda: {"sql": Use(1, 7)})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.loaded)

    def find(self, name: str) -> Use | None:
        return self.loaded.get(name)

    def load(self, name: str, folder: Path, *, again: bool = False) -> None:
        if folder.name == "broken":
            raise CheckpointError("lora_A.weight fits no layer")
        self.loaded[name] = Use(0, 8 + again)

    def unload(self, name: str) -> None:
        if self.loaded.pop(name, None) is None:
            raise AdapterNotFound(f"no adapter {name!r} is loaded")


def served(engine: ScriptedEngine, **config: Any) -> Any:
    model = replace(MODEL, adapters=FakeAdapters())
    return client(engine, model=model, config=ServerConfig(lora_routes=True, **config))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": MESSAGES, "model": "sql"}),
        (TEXT, {"prompt": "hi", "model": "sql"}),
        ("/v1/responses", {"input": "hi", "model": "sql"}),
        ("/generate", {"inputs": "hi", "parameters": {"adapter_id": "sql"}}),
        ("/api/chat", {"messages": MESSAGES, "model": "sql", "stream": False}),
        ("/api/generate", {"prompt": "hi", "model": "sql:latest", "stream": False}),
    ],
    ids=str,
)
def test_a_request_names_its_adapter(path: str, body: dict[str, Any]) -> None:
    engine = ScriptedEngine(b"a")
    with served(engine) as c:
        response = c.post(path, json=body)
        plain = {key: value for key, value in body.items() if key not in ("model", "parameters")}
        assert c.post(path, json=plain).status_code == 200
    assert response.status_code == 200, response.text
    adapted, base = engine.submitted
    assert (adapted.adapter, base.adapter) == (2, 0)
    assert adapted.cache_salt != base.cache_salt


def test_adapters_are_listed_with_their_parent() -> None:
    with served(ScriptedEngine(b"a")) as c:
        cards = {card["id"]: card for card in c.get("/v1/models").json()["data"]}
        one = c.get("/v1/models/sql").json()
    assert list(cards)[-1] == "sql"
    assert (cards["sql"]["parent"], cards["tiny"]["parent"]) == ("tiny", None)
    assert one == cards["sql"]


def test_an_unknown_adapter_is_a_404_and_tgis_a_validation_error() -> None:
    with served(ScriptedEngine(b"a")) as c:
        chat = c.post(CHAT, json={"messages": MESSAGES, "model": "nosuch"})
        tgi = c.post("/generate", json={"inputs": "a", "parameters": {"adapter_id": "nosuch"}})
    assert chat.status_code == 404 and "served: tiny" in chat.json()["error"]["message"]
    assert tgi.json()["error_type"] == "validation"


def post(c: TestClient, path: str, **body: Any) -> Any:
    return c.post(path, json=body)


def test_adapters_come_and_go() -> None:
    with served(ScriptedEngine(b"a")) as c:
        told = post(c, LOAD, lora_name="poet", lora_path="/adapters/poet")
        assert (told.status_code, told.text) == (
            200,
            "Success: LoRA adapter 'poet' added successfully.",
        )
        assert post(c, CHAT, messages=MESSAGES, model="poet").status_code == 200
        assert post(c, UNLOAD, lora_name="poet").status_code == 200
        assert post(c, CHAT, messages=MESSAGES, model="poet").status_code == 404
        assert post(c, UNLOAD, lora_name="poet").status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"lora_path": "/a"}, "lora_name"),
        ({"lora_name": "a"}, "lora_path"),
        ({"lora_name": "a", "lora_path": "/adapters/broken"}, "lora_path"),
        ({"lora_name": "tiny", "lora_path": "/a"}, "lora_name"),
    ],
    ids=str,
)
def test_what_can_not_be_loaded_is_a_400(body: dict[str, Any], param: str) -> None:
    with served(ScriptedEngine(b"a")) as c:
        response = post(c, LOAD, **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_without_the_switch_clients_load_nothing() -> None:
    with client(ScriptedEngine(b"a")) as c:
        for path in (LOAD, UNLOAD):
            response = post(c, path, lora_name="a", lora_path="/a")
            assert response.status_code == 403
            assert response.json()["error"]["code"] == "feature_disabled"
