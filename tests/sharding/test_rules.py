import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxserve.errors import ConfigError
from jaxserve.sharding import axes
from jaxserve.sharding.axes import MESH_AXES
from jaxserve.sharding.mesh import make_mesh
from jaxserve.sharding.rules import RULES, refuse_uneven, sharding, spec


def test_every_logical_axis_has_a_rule_to_an_axis_of_the_mesh() -> None:
    names = {value for name, value in vars(axes).items() if name.isupper() and name != "MESH_AXES"}
    assert set(RULES) == names - set(MESH_AXES)
    assert {rule.mesh_axis for rule in RULES.values()} <= {*MESH_AXES, None}


def test_heads_mlp_and_vocab_go_over_the_tensor_axis() -> None:
    mesh = make_mesh(tensor_parallel=4)
    assert spec(("q_heads", "embed"), (8, 64), mesh) == P("tensor", None)
    assert spec(("embed", "mlp"), (64, 48), mesh) == P(None, "tensor")
    assert spec(("vocab", "embed"), (100, 64), mesh) == P("tensor", None)


def test_unnamed_dimensions_are_never_split() -> None:
    mesh = make_mesh(tensor_parallel=2)
    assert spec((None, "kv_heads", None), (2, 2, 2), mesh) == P(None, "tensor", None)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 3, 6])
def test_kv_heads_that_do_not_divide_are_replicated(num_kv_heads: int) -> None:
    assert spec(("kv_heads",), (num_kv_heads,), make_mesh(tensor_parallel=4)) == P(None)


def test_a_vocabulary_that_does_not_divide_is_replicated() -> None:
    assert spec(("vocab", "embed"), (61, 32), make_mesh(tensor_parallel=2)) == P(None, None)


def test_query_heads_that_do_not_divide_are_refused_with_what_fits() -> None:
    with pytest.raises(ConfigError) as refusal:
        spec(("q_heads", "embed"), (9, 64), make_mesh(tensor_parallel=2))
    assert "tensor_parallel = 2 does not divide q_heads = 9" in str(refusal.value)
    assert "it can be 1, 3 or 9" in str(refusal.value)


def test_what_fits_fits_all_dimensions_of_the_model() -> None:
    with pytest.raises(ConfigError) as refusal:
        dimensions = [("q_heads", 12), ("mlp", 32), ("mlp", 40), ("vocab", 61), (None, 7)]
        refuse_uneven(dimensions, make_mesh(tensor_parallel=8))
    assert "does not divide q_heads = 12 of" in str(refusal.value)
    assert "it can be 1, 2 or 4" in str(refusal.value)


def test_heads_stay_whole() -> None:
    # 2 heads of 16 are 32 rows: over 4 devices the rows would divide, the heads do not.
    assert spec(("kv_heads", "embed"), (2, 64), make_mesh(tensor_parallel=4)) == P(None, None)


def test_an_array_lands_where_its_sharding_says() -> None:
    mesh = make_mesh(tensor_parallel=2)
    placed = jnp.zeros((4, 6), device=sharding(("vocab", "embed"), (4, 6), mesh))
    assert [shard.data.shape for shard in placed.addressable_shards] == [(2, 6), (2, 6)]
