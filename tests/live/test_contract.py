"""Every route and parameter of scripts/contract.py, sent to a live server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jaxserve.server.fields import WireModel
from scripts.compatibility import verdict_of
from scripts.conformance_tables import CONTRACT, PARAMETERS
from scripts.contract import CHAT, INPUTS, ROUTES, TEXT, ParameterWish, RouteWish
from tests.live.conftest import ANSWER_S, Live

pytestmark = pytest.mark.client(CONTRACT, "jaxserve")

BASES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": TEXT,
    "/generate": INPUTS,
}
SENT = [
    pytest.param(path, body, prefix, wish, id=f"{path} {wish.name}")
    for path, body, prefix, wishes in PARAMETERS
    for wish in wishes
]


@pytest.mark.parametrize(
    "wish", [w for w in ROUTES if w.task == "generate"], ids=lambda wish: wish.id
)
def test_route(live: Live, wish: RouteWish) -> None:
    answer = httpx.request(wish.method, live.url + wish.path, json=wish.body, timeout=ANSWER_S)
    if wish.switch:
        assert answer.status_code in (403, 404)
        assert wish.switch in answer.text
    else:
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("path", "body", "prefix", "wish"), SENT)
def test_parameter(
    live: Live, path: str, body: type[WireModel], prefix: str, wish: ParameterWish
) -> None:
    name = prefix + wish.name
    answer = httpx.post(live.url + path, json=_sent(path, prefix, wish), timeout=ANSWER_S)
    if wish.switch:
        assert answer.status_code == 400
        assert wish.switch in answer.text
        return
    verdict = verdict_of(name, body)
    if verdict == "refused":
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"].startswith(name)
        return
    assert answer.status_code == 200, answer.text
    named = answer.headers.get("x-jaxserve-ignored", "").split(", ")
    assert (name in named) == (verdict == "named as ignored")


def _sent(path: str, prefix: str, wish: ParameterWish) -> dict[str, Any]:
    """The base body of the route with the parameter, and with what it needs beside it."""
    asked = {**wish.beside, wish.name: wish.value}
    base = BASES[path]
    if not prefix:
        return {**base, **asked}
    return {**base, "parameters": {**base["parameters"], **asked}}
