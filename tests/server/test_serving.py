"""What is measured of a request, whichever dialect it speaks."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.server.metrics.measures import Refusal
from tests.server.apps import CHAT, MESSAGES, TEXT, client
from tests.text_fakes import ScriptedEngine

BODY = {"inputs": "a", "messages": MESSAGES, "prompt": "a", "instances": [{"inputs": "a"}]}
PATHS = [CHAT, TEXT, "/", "/generate", "/generate_stream", "/invocations", "/vertex"]
PATHS += ["/api/generate", "/api/chat"]


def measures_of(c: Any) -> Any:
    return c.app.state.server.measures


@pytest.mark.parametrize("path", PATHS)
def test_a_request_is_accepted_once_and_a_refusal_counted_once(path: str) -> None:
    with client(ScriptedEngine(b"a")) as c:
        assert c.post(path, json=BODY).status_code == 200
        assert measures_of(c).samples.count == 1
        assert sum(measures_of(c).refused.values()) == 0
        assert c.post(path, content=b"{").status_code == 400
        assert measures_of(c).samples.count == 1
        assert measures_of(c).refused[Refusal.VALIDATION] == 1


@pytest.mark.parametrize("path", ["/generate", "/api/chat", CHAT])
def test_what_fails_once_it_runs_is_no_refusal(path: str) -> None:
    with client(ScriptedEngine(b"abcdef", fail_at=2)) as c:
        assert c.post(path, json={**BODY, "stream": False}).status_code in (424, 500)
        assert measures_of(c).samples.count == 1
        assert sum(measures_of(c).refused.values()) == 0
