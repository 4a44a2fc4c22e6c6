"""How much memory may the KV cache take? Asks the device, or the host when the device is a CPU."""

from __future__ import annotations

from pathlib import Path

import jax
import psutil

_ACCELERATOR_SHARE = 0.9  # the rest is for the programs' temporaries and fragmentation
_HOST_SHARE = 0.5  # of what is free: the machine has other things to do
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(devices: list[jax.Device]) -> int:
    """Bytes on each of `devices` that the KV cache may take, weights being loaded already."""
    if devices[0].platform == "cpu":
        return int(_host_free_bytes() * _HOST_SHARE) // len(devices)
    return min(_device_free_bytes(device) for device in devices)


def _device_free_bytes(device: jax.Device) -> int:
    stats = device.memory_stats() or {}
    return int(stats.get("bytes_limit", 0) * _ACCELERATOR_SHARE) - stats.get("bytes_in_use", 0)


def _host_free_bytes() -> int:
    """Free memory of the machine, or of the container that it is run in."""
    available = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or its limit is "max"
        return available
    return min(available, limit - used)
