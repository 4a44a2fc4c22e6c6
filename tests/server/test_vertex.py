"""Vertex AI's instances and predictions, and the paths its platform chooses."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from tests.server.apps import MESSAGES, client
from tests.text_fakes import ScriptedEngine


def last_token(request: Any) -> list[int]:
    return [request.prompt_ids[-1]] * 2


def predict(c: TestClient, *instances: Any, **body: Any) -> Any:
    response = c.post("/vertex", json={"instances": instances, **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_each_instance_has_a_prediction_in_order() -> None:
    with client(ScriptedEngine(last_token)) as c:
        answer = predict(c, {"inputs": "a"}, {"messages": MESSAGES}, {"inputs": "b"})
    assert answer == {"predictions": ["aa", "  ", "bb"]}


def test_parameters_of_the_body_are_defaults_of_the_instances() -> None:
    engine = ScriptedEngine(b"abc")
    own = {"inputs": "a", "parameters": {"max_new_tokens": 3, "return_full_text": True}}
    with client(engine) as c:
        answer = predict(c, {"inputs": "a"}, own, parameters={"max_new_tokens": 2, "seed": 5})
        predict(c, {"inputs": "a"})
    assert answer["predictions"] == ["ab", "aabc"]
    lengths = [(r.params.max_tokens, r.params.temperature) for r in engine.submitted]
    assert lengths == [(2, 0.0), (3, 0.0), (4094, 1.0)]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": ["a"]}, "instances"),
        ({"instances": [{"inputs": "a"}, {}]}, "instances[1]"),
        ({"instances": [{"inputs": "a"}], "parameters": {"top_p": 2}}, "instances[0]"),
        ({"instances": [{"messages": []}]}, "instances[0]"),
        ({"instances": [{"messages": MESSAGES, "n": 2}]}, "instances[0]"),
    ],
)
def test_what_is_refused_keeps_its_status_and_names_the_instance(
    body: dict[str, Any], named: str
) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        response = c.post("/vertex", json=body)
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert named in response.json()["error"]
    assert not engine.submitted


def test_failure_of_one_ends_all() -> None:
    engine = ScriptedEngine(b"abcdef", fail_at=3)
    with client(engine) as c:
        response = c.post("/vertex", json={"instances": [{"inputs": "a"}] * 3})
        assert engine.num_running == 0
    assert (response.status_code, response.json()["error_type"]) == (424, "generation")


def test_platform_chooses_paths_that_win_over_ours() -> None:
    config = ServerConfig(
        api_key=("k",), health_route="/v1/models/x", predict_route="/v1/models/x:predict"
    )
    with client(ScriptedEngine(b"a"), config=config) as c:
        assert c.get("/v1/models/x").json() == {"status": "ok"}
        body = {"instances": [{"inputs": "a"}]}
        assert c.post("/v1/models/x:predict", json=body).status_code == 401
        answer = c.post("/v1/models/x:predict", json=body, headers={"authorization": "Bearer k"})
    assert answer.json() == {"predictions": ["a"]}
