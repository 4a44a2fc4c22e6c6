import jax
import pytest
from jax.sharding import AxisType

from jaxserve.errors import ConfigError
from jaxserve.sharding.axes import MESH_AXES
from jaxserve.sharding.mesh import make_mesh


def test_all_axes_are_there_and_only_tensor_is_wider_than_one() -> None:
    mesh = make_mesh(tensor_parallel=4)
    assert dict(mesh.shape) == {"data": 1, "tensor": 4, "expert": 1}
    assert mesh.axis_names == MESH_AXES


def test_experts_are_shared_among_groups_of_devices() -> None:
    mesh = make_mesh(tensor_parallel=2, expert_parallel=4)
    assert dict(mesh.shape) == {"data": 1, "tensor": 2, "expert": 4}


def test_axes_are_automatic() -> None:
    assert set(make_mesh(tensor_parallel=2).axis_types) == {AxisType.Auto}


def test_the_first_of_the_given_devices_are_taken() -> None:
    devices = jax.devices()[3:7]
    assert list(make_mesh(tensor_parallel=2, devices=devices).devices.flat) == devices[:2]


def test_too_many_devices_are_refused_with_the_limit_and_the_way_out() -> None:
    with pytest.raises(ConfigError) as refusal:
        make_mesh(tensor_parallel=9)
    message = str(refusal.value)
    assert "tensor_parallel = 9" in message and "only 8 cpu device(s)" in message
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=9" in message


def test_both_count_together() -> None:
    with pytest.raises(ConfigError) as refusal:
        make_mesh(tensor_parallel=2, expert_parallel=5)
    message = str(refusal.value)
    assert (
        "tensor_parallel = 2 and expert_parallel = 5: 10 devices, but there are only 8" in message
    )


@pytest.mark.parametrize("tensor_parallel", [0, -1])
def test_less_than_one_device_is_refused(tensor_parallel: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        make_mesh(tensor_parallel=tensor_parallel)
