"""Apps over a scripted engine, in process and on a loopback port, and how to read their streams."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jaxserve.config import ApiConfig, ServeConfig, ServerConfig
from jaxserve.generate import TextGenerator
from jaxserve.server.app import create_app
from jaxserve.server.models import ModelDetails, ModelInfo
from jaxserve.server.state import Profiler
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.table import Formats
from jaxserve.text.tokenizer import Tokenizer
from tests.text_fakes import ByteTokenizer, ScriptedEngine

MODEL = ModelInfo(
    names=("tiny", "small"),
    also=("org/tiny-hub",),
    root="org/tiny-hub",
    created=1700000000,
    max_model_len=4096,
    fingerprint="fp_test",
    details=ModelDetails(
        device="cpu",
        dtype="float32",
        family="llama",
        num_params=6_100_000,
        size_bytes=24_400_000,
        revision="abc123",
        template="{{ messages }} {{ tools }}",
    ),
)

HERMES_ONLY = Formats(tools=HERMES)

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


def make_app(
    engine: ScriptedEngine,
    *,
    config: ServerConfig | None = None,
    api: ApiConfig | None = None,
    generation_config: dict[str, Any] | None = None,
    formats: Formats = HERMES_ONLY,
    tokenizer: Tokenizer | None = None,
    model: ModelInfo = MODEL,
    profiler: Profiler | None = None,
) -> Starlette:
    return create_app(
        TextGenerator(engine, tokenizer or ByteTokenizer()),
        model=model,
        config=ServeConfig(server=config or ServerConfig(), api=api or ApiConfig()),
        engine=engine,
        generation_config=generation_config or {},
        formats=formats,
        profiler=profiler,
    )


@contextlib.contextmanager
def client(engine: ScriptedEngine, **options: Any) -> Iterator[TestClient]:
    """A client of an app in this process; the engine is stopped after."""
    try:
        with TestClient(make_app(engine, **options)) as test_client:
            yield test_client
    finally:
        engine.stop()


@contextlib.contextmanager
def live(engine: ScriptedEngine, **options: Any) -> Iterator[str]:
    """The address of an app that listens on a free loopback port; the engine is stopped after."""
    try:
        with live_app(make_app(engine, **options)) as (address, _):
            yield address
    finally:
        engine.stop()


@contextlib.contextmanager
def live_app(app: Starlette) -> Iterator[tuple[str, Callable[[], None]]]:
    """The app's address, and what stops its server without waiting for running requests."""
    config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="live-server", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", stop
    finally:
        stop()


def wait_until(true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Return when it is true; fail when it does not become so."""
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


def events(body: str) -> list[Any]:
    """The events of a whole stream, which must end as the contract says; comments are dropped."""
    assert body.endswith("data: [DONE]\n\n")
    frames = [frame for frame in body.split("\n\n") if frame and not frame.startswith(":")]
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def bare_events(body: str) -> list[Any]:
    """The events of a whole TGI stream, which has no end mark."""
    assert "data: [DONE]" not in body.split("\n") and body.endswith("\n\n")
    return events(body + "data: [DONE]\n\n")
