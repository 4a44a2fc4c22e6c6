"""How are programs compiled for devices that are not here?

JAX's compilers take a description of the machine in the place of devices: libtpu knows its
topologies, XLA's GPU compiler takes a text that describes the card.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from jaxserve.errors import ConfigError
from jaxserve.plan.hardware import Machine

# Without these, libtpu looks for chips and for other processes that use them.
_LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def prepare(num_devices: int) -> None:
    """Let the processor be split into so many devices; before JAX is asked for any."""
    jax.config.update("jax_num_cpu_devices", num_devices)


def compile_devices(machine: Machine) -> Sequence[jax.Device] | None:
    """Devices to compile for, which need not exist; None where their compiler is not installed.

    Raises ConfigError for a TPU without libtpu, since nothing else knows it.
    """
    match machine.device.platform:
        case "tpu":
            return _tpu(machine)
        case "gpu":
            return _gpu(machine)
        case _:
            return jax.devices("cpu")[: machine.num_devices]


def _tpu(machine: Machine) -> Sequence[jax.Device]:
    if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        raise ConfigError(
            f"{machine.name} is compiled for by libtpu, which is not installed: "
            "pip install 'jaxserve[tpu]' (no TPU is needed)"
        )
    for name, value in _LIBTPU.items():
        os.environ.setdefault(name, value)
    assert machine.topology is not None
    told: dict[str, Any] = {"platform": "tpu", "topology_name": machine.topology}
    if machine.num_devices == 1:
        told["chips_per_host_bounds"] = [1, 1, 1]
    devices: Sequence[jax.Device] = topologies.get_topology_desc(**told).devices
    return devices


def _gpu(machine: Machine) -> Sequence[jax.Device] | None:
    here = [device for device in _local_gpus() if _is(machine, device)]
    return here[: machine.num_devices] if len(here) >= machine.num_devices else None


def _local_gpus() -> Sequence[jax.Device]:
    try:
        return jax.devices("gpu")
    except RuntimeError:
        return ()


def _is(machine: Machine, device: jax.Device) -> bool:
    return machine.device.name in device.device_kind.lower().replace(" ", "")
