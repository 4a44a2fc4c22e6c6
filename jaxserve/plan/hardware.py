"""Which machines can be planned for, and what can they do at most?

Figures are the makers': memory, bandwidth and bfloat16 products a second of one device, which is a
chip, or half of one where a chip shows itself as two devices (tpu7x). What a compiler lets programs
use of the memory is less; `usable_bytes` says how much.
Sources: cloud.google.com/tpu/docs (v5e, v5p, v6e, tpu7x), NVIDIA's data sheets of H100 SXM and
H200 SXM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxserve.errors import ConfigError

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device. `topologies` are libtpu's names by the number of devices."""

    name: str
    platform: str  # as JAX calls it
    memory_bytes: int
    usable_bytes: int
    bandwidth: float  # bytes a second
    flops: float  # bfloat16, a second
    per_name: float = 1.0  # devices for each that the name of a slice counts: v5p counts cores
    topologies: Mapping[int, str] = field(default_factory=dict)


def _usable(memory_bytes: int, share: float = 0.92) -> int:
    return int(memory_bytes * share)


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="v5e",
            platform="tpu",
            memory_bytes=16 * GIB,
            usable_bytes=int(15.75 * GIB),
            bandwidth=819e9,
            flops=197e12,
            topologies={1: "v5e:1x1", 4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4", 32: "v5e:4x8"},
        ),
        Device(
            name="v5p",
            platform="tpu",
            memory_bytes=95 * GIB,
            usable_bytes=int(95 * GIB * 0.98),
            bandwidth=2765e9,
            flops=459e12,
            per_name=0.5,
            topologies={4: "v5p:2x2x1", 8: "v5p:2x2x2", 16: "v5p:2x2x4"},
        ),
        Device(
            name="v6e",
            platform="tpu",
            memory_bytes=32 * GIB,
            usable_bytes=int(31.25 * GIB),
            bandwidth=1640e9,
            flops=918e12,
            topologies={1: "v6e:1x1", 4: "v6e:2x2", 8: "v6e:2x4", 16: "v6e:4x4", 32: "v6e:4x8"},
        ),
        Device(
            name="tpu7x",
            platform="tpu",
            memory_bytes=96 * GIB,
            usable_bytes=int(96 * GIB * 0.98),
            bandwidth=3690e9,
            flops=1153e12,
            per_name=2.0,
            topologies={8: "tpu7x:2x2x1", 16: "tpu7x:2x2x2"},
        ),
        Device(
            name="h100",
            platform="gpu",
            memory_bytes=85_520_809_984,
            usable_bytes=_usable(85_520_809_984),
            bandwidth=3352e9,
            flops=989e12,
        ),
        Device(
            name="h200",
            platform="gpu",
            memory_bytes=151_397_597_184,
            usable_bytes=_usable(151_397_597_184),
            bandwidth=4800e9,
            flops=989e12,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Machine:
    """So many devices of a kind, or this machine's processor."""

    name: str
    device: Device
    num_devices: int

    @property
    def topology(self) -> str | None:
        return self.device.topologies.get(self.num_devices)


def this_cpu(free_bytes: int) -> Device:
    """The processor here; how fast it is, `jaxserve bench engine` measures."""
    return Device(
        name="cpu",
        platform="cpu",
        memory_bytes=free_bytes,
        usable_bytes=free_bytes,
        bandwidth=0.0,
        flops=0.0,
    )


def machine(name: str, *, cpu_bytes: int) -> Machine:
    """The machine called so: `v5e-8`, `h200`, `h100-4`, `cpu`. Raises ConfigError for others."""
    kind, _, count = name.partition("-")
    device = this_cpu(cpu_bytes) if kind == "cpu" else DEVICES.get(kind)
    if device is None or (count and not count.isdecimal()):
        known = ", ".join([*DEVICES, "cpu"])
        raise ConfigError(
            f"on = {name!r}: known are {known}, followed by - and how many (v5e-4, h200-2)"
        )
    num_devices = int(count or 1) * device.per_name if count else 1
    found = Machine(name, device, int(num_devices))
    if device.platform == "tpu" and found.topology is None:
        sizes = ", ".join(
            f"{kind}-{int(number / device.per_name)}" for number in sorted(device.topologies)
        )
        raise ConfigError(f"on = {name!r}: slices of {kind} that are known are {sizes}")
    return found


def larger(than: Machine) -> list[Machine]:
    """Machines of the same devices with more of them, the smallest first."""
    device = than.device
    numbers = sorted(device.topologies) if device.topologies else [2, 4, 8]
    return [
        Machine(f"{device.name}-{int(number / device.per_name)}", device, number)
        for number in numbers
        if number > than.num_devices and device.platform != "cpu"
    ]
