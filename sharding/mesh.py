"""Which devices share the model, and in what arrangement?

Knows nothing of models. All mesh axes are always there, with size 1 where they are not used, so
that partition specs need no cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh

from jaxserve.errors import ConfigError
from jaxserve.sharding.axes import DATA, EXPERT, MESH_AXES, TENSOR


def make_mesh(
    *,
    tensor_parallel: int,
    expert_parallel: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Arrange as many of the first of `devices` (default: all there are) as both together need.

    The axes are automatic: XLA propagates shardings from the arguments of a program. Raises
    ConfigError when there are too few devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    wanted = {"tensor_parallel": tensor_parallel, "expert_parallel": expert_parallel}
    for name, size in wanted.items():
        if size < 1:
            raise ConfigError(f"{name} = {size}: it must be at least 1")
    num_devices = tensor_parallel * expert_parallel
    if num_devices > len(devices):
        raise ConfigError(_too_few(wanted, devices))
    sizes = {DATA: 1, TENSOR: tensor_parallel, EXPERT: expert_parallel}
    return jax.make_mesh(
        tuple(sizes[axis] for axis in MESH_AXES),
        MESH_AXES,
        axis_types=(AxisType.Auto,) * len(MESH_AXES),
        devices=devices[:num_devices],
    )


def _too_few(wanted: Mapping[str, int], devices: Sequence[jax.Device]) -> str:
    platform = devices[0].platform if devices else "no"
    said = " and ".join(f"{name} = {size}" for name, size in wanted.items() if size > 1)
    num_devices = math.prod(wanted.values())
    message = (
        f"{said}: {num_devices} devices, but there are only {len(devices)} {platform} "
        f"device(s); ask for {len(devices)} or fewer"
    )
    if platform == "cpu":
        message += (
            ", or split this CPU into virtual devices with the environment variable "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={num_devices}"
        )
    return message
