"""Machines go by the names that clouds have for them."""

from __future__ import annotations

import pytest

from jaxserve.errors import ConfigError
from jaxserve.plan.hardware import larger, machine


@pytest.mark.parametrize(
    ("name", "num_devices", "topology"),
    [
        ("v5e-4", 4, "v5e:2x2"),
        ("v5p-8", 4, "v5p:2x2x1"),  # v5p counts cores, two to a chip
        ("tpu7x-4", 8, "tpu7x:2x2x1"),  # a chip is two devices
        ("h200", 1, None),
        ("h100-4", 4, None),
        ("cpu", 1, None),
    ],
)
def test_a_name_counts_devices(name: str, num_devices: int, topology: str | None) -> None:
    found = machine(name, cpu_bytes=1)
    assert (found.num_devices, found.topology) == (num_devices, topology)


@pytest.mark.parametrize(
    ("name", "told"), [("v9z-4", "known are v5e"), ("v5e-3", "v5e-1, v5e-4"), ("h100-x", "known")]
)
def test_other_names_are_refused_with_those_that_are_known(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        machine(name, cpu_bytes=1)


def test_larger_slices_come_in_order() -> None:
    assert [m.name for m in larger(machine("v5p-8", cpu_bytes=1))] == ["v5p-16", "v5p-32"]
    assert larger(machine("cpu", cpu_bytes=1)) == []
