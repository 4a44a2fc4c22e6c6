"""Which devices share the model, and in what arrangement?

Knows nothing of models. All mesh axes are always there, with size 1 where they are not used, so
that partition specs need no cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from jaxserve.errors import ConfigError
from jaxserve.sharding.axes import DATA, EXPERT, MESH_AXES, TENSOR


def make_mesh(*, tensor_parallel: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arrange the first `tensor_parallel` of `devices` (default: all there are).

    The axes are automatic: XLA propagates shardings from the arguments of a program. Raises
    ConfigError when there are too few devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if tensor_parallel < 1:
        raise ConfigError(f"tensor_parallel = {tensor_parallel}: it must be at least 1")
    if tensor_parallel > len(devices):
        raise ConfigError(_too_few(tensor_parallel, devices))
    sizes = {DATA: 1, TENSOR: tensor_parallel, EXPERT: 1}
    return jax.make_mesh(
        tuple(sizes[axis] for axis in MESH_AXES),
        MESH_AXES,
        axis_types=(AxisType.Auto,) * len(MESH_AXES),
        devices=devices[:tensor_parallel],
    )


def _too_few(tensor_parallel: int, devices: Sequence[jax.Device]) -> str:
    platform = devices[0].platform if devices else "no"
    message = (
        f"tensor_parallel = {tensor_parallel}, but there are only {len(devices)} {platform} "
        f"device(s); ask for {len(devices)} or fewer"
    )
    if platform == "cpu":
        message += (
            ", or split this CPU into virtual devices with the environment variable "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={tensor_parallel}"
        )
    return message
