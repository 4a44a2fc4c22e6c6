"""How does a host start that has a part of the model and no clients? It does what host 0 tells it.

The composition root of hosts 1 and up; `build.py` is that of the first one.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import TextIO

import jax

from jaxserve.build_runner import choose_attention, load, make_runner, mesh_of, surroundings
from jaxserve.config import ServeConfig
from jaxserve.engine.commands import Command
from jaxserve.engine.runner import Runner
from jaxserve.errors import JaxserveError
from jaxserve.hosts.follower import Leader, join
from jaxserve.hosts.terms import Place, digest_of, settings_of
from jaxserve.hosts.wire import end_process
from jaxserve.models.hub import resolve
from jaxserve.phases import DEVICES, POOL, WEIGHTS, Phases
from jaxserve.sharding.hosts import start_jax, stop_jax
from jaxserve.startup import kept_programs, say, use_compilation_cache, warm_up

logger = logging.getLogger(__name__)

_BLAME_S = 2.0


def follow(config: ServeConfig, place: Place, phases: Phases, *, log: TextIO = sys.stderr) -> None:
    """Run this host's part until host 0 stops the service.

    SIGTERM and SIGINT ask host 0 to do that; a second one ends this process. Raises ConfigError
    and CheckpointError; the process ends with exit code 1 when host 0 is lost.
    """
    leader = join(place, settings_of(config))
    _leave_when_told(leader)
    try:
        start_jax(place.jax_address, num_hosts=place.num_hosts, index=place.index)
        runner = _warm_runner(config, leader, phases, log)
        say(log, f"host {place.index} of {place.num_hosts} is ready and follows {place.address}")
        carry_out(leader.commands(), runner)
    except JaxserveError as error:  # host 0 must not wait for this one
        leader.fail(str(error))
        raise
    except Exception as error:
        logger.exception("host %d failed", place.index)
        # A collective may miss host 0 before the connection does, whose thread then ends us.
        time.sleep(_BLAME_S)
        leader.fail(f"{type(error).__name__}: {error}")
        end_process(f"this host failed: {type(error).__name__}: {error}")
    runner.close()
    leader.close()
    stop_jax()


def carry_out(commands: Iterable[Command], runner: Runner) -> None:
    """Do as told. As on host 0, at most two steps are on their way at a time."""
    before: jax.Array | None = None
    for command in commands:
        given = runner.do(command)
        if given is not None:
            jax.block_until_ready(before)
            before = given
    jax.block_until_ready(before)


def _warm_runner(config: ServeConfig, leader: Leader, phases: Phases, log: TextIO) -> Runner:
    use_compilation_cache(config.engine)
    folder = resolve(config.source.model, revision=config.source.revision)
    mesh = mesh_of(config.mesh)
    phases.end(DEVICES)
    loaded = load(config, folder, mesh, log)
    phases.end(WEIGHTS)
    backend = choose_attention(config.engine, loaded, log).backend
    free_bytes = surroundings(loaded, backend).free_bytes
    terms = leader.loaded(free_bytes, digest_of(loaded.model, backend.name))
    limits, room = terms.limits, terms.room
    runner = make_runner(loaded, backend, sizes=terms.sizes, limits=limits, room=room)
    phases.end(POOL)
    warm_up(runner, kept_programs(config.engine, mesh), log, phases)
    leader.ready()
    return runner


def _leave_when_told(leader: Leader) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # Not here: the thread that is interrupted may be sending.
        threading.Thread(target=leader.leave).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
