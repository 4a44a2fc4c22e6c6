"""A live server of a model that embeds or classifies, in this process."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from jaxserve.build_pooled import BuiltPooler, build_pooled_app, build_pooler
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from tests.server.apps import wait_until


@dataclass(frozen=True)
class Served:
    url: str
    built: BuiltPooler
    log: str

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60)


@contextlib.contextmanager
def serving(folder: Path, compiled: Path) -> Iterator[Served]:
    """The model in `folder` behind a loopback port."""
    config = ServeConfig(
        source=ModelSource(model=str(folder), served_model_name=("minilm",)),
        engine=EngineConfig(compilation_cache=compiled, max_batch_size=4, token_budget=256),
    )
    log = io.StringIO()
    built = build_pooler(config, log=log)
    app = build_pooled_app(config, built)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started, within_s=60)
    host, port = listening.getsockname()
    yield Served(f"http://{host}:{port}", built, log.getvalue())
    server.should_exit = True
    thread.join()
    assert built.loop.stop(10.0)
    built.runner.close()
