"""How do the devices of several hosts become one mesh? Starts JAX's own multi-host runtime."""

from __future__ import annotations

import contextlib
from collections import defaultdict

import jax

from jaxserve.errors import ConfigError

_START_S = 300
_STOP_S = 10


def start_jax(address: str, *, num_hosts: int, index: int) -> None:
    """Join the runtime whose coordination service host 0 runs at `address`.

    Before anything else is asked of JAX; returns when all hosts have joined.
    """
    jax.distributed.initialize(
        coordinator_address=address,
        coordinator_bind_address=address if index == 0 else None,
        num_processes=num_hosts,
        process_id=index,
        initialization_timeout=_START_S,
        shutdown_timeout_seconds=_STOP_S,
    )


def stop_jax() -> None:
    """Leave the runtime, when all hosts do."""
    with contextlib.suppress(RuntimeError):  # another one has left without a word
        jax.distributed.shutdown()


def devices_of_all(num_devices: int) -> list[jax.Device]:
    """As many of every host's devices as make `num_devices` together.

    Raises ConfigError when the hosts cannot have equally many of them.
    """
    by_host: dict[int, list[jax.Device]] = defaultdict(list)
    for device in jax.devices():
        by_host[device.process_index].append(device)
    each, rest = divmod(num_devices, len(by_host))
    least = min(len(devices) for devices in by_host.values())
    if rest or each == 0 or each > least:
        raise ConfigError(
            f"tensor_parallel times expert_parallel is {num_devices}, and there are "
            f"{len(by_host)} hosts with {least} device(s) each; it must be a multiple of "
            f"{len(by_host)}, and at most {least * len(by_host)}"
        )
    return [device for index in sorted(by_host) for device in by_host[index][:each]]
