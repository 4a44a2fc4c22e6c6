"""A live server in this process: the shipped model, the real engine, a loopback port."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from openai import OpenAI

from jaxserve.build import BuiltEngine, build_app, build_engine
from jaxserve.config import EngineConfig, ServeConfig

ANSWER_S = 60.0


@dataclass(frozen=True)
class Live:
    """A running server and the engine inside of it."""

    url: str
    built: BuiltEngine
    start_up: str

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S)

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not is_true():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.01)

    def wait_until_idle(self) -> None:
        """Wait until no request holds a page, runs or waits."""

        def idle() -> bool:
            stats = self.built.loop.stats()
            return (stats.used_pages, stats.running, stats.waiting) == (0, 0, 0)

        self.wait_until(idle)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    config = ServeConfig(engine=EngineConfig(compilation_cache=tmp_path_factory.mktemp("compiled")))
    log = io.StringIO()
    built = build_engine(config, log=log)
    server = uvicorn.Server(
        uvicorn.Config(build_app(config, built), log_level="warning", lifespan="on")
    )
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    host, port = listening.getsockname()
    running = Live(f"http://{host}:{port}", built, log.getvalue())
    running.wait_until(lambda: server.started)
    yield running
    server.should_exit = True
    thread.join()
    assert built.loop.stop(10.0)
    built.runner.close()


@pytest.fixture(autouse=True)
def all_is_well_after(live: Live) -> Iterator[None]:
    """After every test no page is held, the engine lives, and nothing has been compiled.

    The count is the process's: another server that starts here, between tests, adds to it.
    """
    before = live.built.runner.num_compiled_after_ready
    yield
    live.wait_until_idle()
    assert live.built.loop.health().alive
    assert live.built.runner.num_compiled_after_ready == before
