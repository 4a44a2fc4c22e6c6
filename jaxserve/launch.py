"""How does a server start, say that it is ready, and stop? Runs the app until a signal ends it."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from jaxserve.build_pooled import build
from jaxserve.config import ServeConfig, ServerConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.errors import ConfigError
from jaxserve.follow import follow
from jaxserve.hosts.leader import Followers, gather
from jaxserve.hosts.terms import Place, place_of, settings_of
from jaxserve.hosts.wire import end_process
from jaxserve.logs import log_to_stderr
from jaxserve.phases import IMPORTS, READY, Phases, process_phases
from jaxserve.server.models import ModelInfo
from jaxserve.sharding.hosts import start_jax, stop_jax
from jaxserve.startup import leave_torch_out
from jaxserve.version import __version__

_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    ),
    "embed": ("/v1/embeddings", {"input": "The capital of France is Paris."}),
    "classify": ("/classify", {"input": "What a lovely day."}),
}
_ENGINE_STOP_S = 1.0  # the app has ended every request by then
_LAST_WORDS_S = 0.5  # for clients to be told that the service ends


def serve(config: ServeConfig) -> None:
    """Serve until SIGINT or SIGTERM: then running requests get `shutdown_timeout` to finish.

    Of several hosts the first one serves, and the others follow it.
    """
    phases = process_phases()
    phases.end(IMPORTS)
    leave_torch_out()
    log_to_stderr(level=config.server.log_level, form=config.server.log_format)
    place = place_of(config.hosts)
    if place is None:
        _serve(config, phases)
    elif place.index == 0:
        _serve_with_others(config, place, phases)
    else:
        follow(config, place, phases)


def _serve_with_others(config: ServeConfig, place: Place, phases: Phases) -> None:
    print(f"waiting for {place.num_hosts - 1} more host(s) at {place.address}", file=sys.stderr)
    group = gather(place, settings_of(config))
    try:
        start_jax(place.jax_address, num_hosts=place.num_hosts, index=0)
        _serve(config, phases, group)
    except Exception as error:
        group.close(str(error))
        raise
    group.close()
    stop_jax()


def _serve(config: ServeConfig, phases: Phases, group: Followers | None = None) -> None:
    """The address is taken before anything slow happens, so that one in use is said at once."""
    listening = _listen(config.server)
    _warn_if_open(config.server)
    built, app = build(config, phases, group)
    if group is not None:
        group.on_leaving = partial(os.kill, os.getpid(), signal.SIGTERM)
        group.on_lost = partial(_end, built.loop)
    url = _url(config.server, listening)

    def on_ready() -> None:
        phases.end(READY)
        if config.server.startup_report is not None:
            phases.write(config.server.startup_report)
        print(f"  {phases}", file=sys.stderr, flush=True)
        print(_greeting(app.state.server.model, url, seconds=phases.total_s), flush=True)

    server = _Server(app, config.server, on_ready)
    try:
        server.run(sockets=[listening])
    finally:
        built.loop.stop(_ENGINE_STOP_S)
        built.runner.close()


def _end(loop: EngineLoop, why: str) -> None:
    """End the process with an error, once the clients have theirs."""
    loop.fail(why)
    time.sleep(_LAST_WORDS_S)
    end_process(why)


class _Server(uvicorn.Server):
    """Says when it is ready, and lets the app refuse new work from the signal on."""

    def __init__(self, app: Starlette, config: ServerConfig, on_ready: Callable[[], None]):
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=max(1, round(config.shutdown_timeout)),
                lifespan="on",
            )
        )
        self._app = app
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new work and stop when the rest is done; a second signal stops at once.

        Not through the base class, which raises the signal again after a clean stop, so that the
        process would end as if killed.
        """
        self._app.state.server.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {error.strerror or error}; "
            "give another --host or --port (0 takes a free one)"
        ) from None
    return listening


def _warn_if_open(config: ServerConfig) -> None:
    if config.api_key or config.api_key_file or _is_loopback(config.host):
        return
    print(
        f"jaxserve: warning: listening on {config.host} without an API key: whoever reaches this "
        "address can use the model; set --api-key-file or JAXSERVE_API_KEY",
        file=sys.stderr,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(config: ServerConfig, listening: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listening.getsockname()[1]}"


def _greeting(model: ModelInfo, url: str, *, seconds: float) -> str:
    name = model.names[0]
    path, asked = _EXAMPLES[model.task]
    curl = f"curl {url}{path} -H 'content-type: application/json' -d"
    return (
        f"jaxserve {__version__} is ready: {name} at {url}/v1 after {seconds:.1f} s; try\n"
        f"{curl} '{json.dumps({'model': name, **asked})}'"
    )
