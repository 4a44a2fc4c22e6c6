"""Traces and an empty prefix cache: off unless the operator wants them, then one thing each."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxserve.config import ServerConfig
from jaxserve.errors import InvalidRequest
from jaxserve.profiling import JaxProfiler, profiler
from tests.server.apps import client
from tests.text_fakes import ScriptedEngine


class Recorder:
    """A profiler that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def start(self) -> None:
        if self.asked:
            raise InvalidRequest("there is one")
        self.asked.append("start")

    def stop(self) -> None:
        self.asked.append("stop")


def test_the_prefix_cache_is_emptied_only_where_developers_are_let_in() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        response = c.post("/reset_prefix_cache")
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "feature_disabled"
    assert engine.num_resets == 0
    engine = ScriptedEngine(b"a")
    with client(engine, config=ServerConfig(dev_routes=True)) as c:
        assert c.post("/reset_prefix_cache").status_code == 200
    assert engine.num_resets == 1


@pytest.mark.parametrize("path", ["/start_profile", "/stop_profile"])
def test_without_a_folder_there_are_no_traces(path: str) -> None:
    with client(ScriptedEngine(b"a")) as c:
        response = c.post(path)
    assert response.status_code == 404 and "--profile-dir" in response.json()["error"]["message"]


def test_a_trace_is_begun_and_ended() -> None:
    recorder = Recorder()
    with client(ScriptedEngine(b"a"), profiler=recorder) as c:
        assert c.post("/start_profile").status_code == 200
        assert c.post("/start_profile").status_code == 400
        assert c.post("/stop_profile").status_code == 200
    assert recorder.asked == ["start", "stop"]


def test_routes_for_developers_need_a_key_where_others_do() -> None:
    config = ServerConfig(dev_routes=True, api_key=("k",))
    with client(ScriptedEngine(b"a"), config=config) as c:
        assert c.post("/reset_prefix_cache").status_code == 401


def test_one_trace_at_a_time_is_written_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder, **_: written.append(folder))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: written.append("end"))
    made = profiler(ServerConfig(profile_dir=tmp_path))
    assert isinstance(made, JaxProfiler)
    with pytest.raises(InvalidRequest, match="start one"):
        made.stop()
    made.start()
    with pytest.raises(InvalidRequest, match="stop it"):
        made.start()
    made.stop()
    assert written == [str(tmp_path), "end"]
    assert profiler(ServerConfig()) is None
