"""Weights are made while they are read, of every family, on one device and on several."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.errors import ConfigError
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.converted import write_params
from jaxserve.models.families.registry import FAMILIES
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.models.making import Option, scales_of, values_of
from jaxserve.models.quantized import QuantizedWeight
from jaxserve.sharding.mesh import make_mesh
from tests.models.dequantised import dequantised, quantised_weights
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees
from tests.models.variants import VARIANTS

Saved = Callable[[str], Path]
FLOAT32 = jnp.dtype("float32")
TOKENS = tuple(np.random.default_rng(1).integers(0, 61, 18).tolist())
OPTIONS: tuple[Option, ...] = ("int8", "int4", "fp8")
# A variant of every way in which families store what the decoder is made of.
WAYS = {
    frozenset(repr(held) for held in family.modules.values()): name
    for architecture, family in FAMILIES.items()
    for name, variant in VARIANTS.items()
    if variant.architecture == architecture
}


def load(folder: Path, quantize: Option | None, *, tensor_parallel: int = 1) -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return load_model(folder, dtype=FLOAT32, mesh=mesh, quantize=quantize)


def logits(model: LoadedModel, *, tensor_parallel: int = 1) -> np.ndarray:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return PagedRun(model, XlaAttention(), mesh, rows=1).step([TOKENS])[0]


def assert_made_of(weight: QuantizedWeight, floats: np.ndarray) -> None:
    how = weight.quantization
    np.testing.assert_array_equal(weight.values[...], values_of(floats, how))
    np.testing.assert_array_equal(weight.scales[...], scales_of(floats, how))


@pytest.mark.parametrize("name", sorted(WAYS.values()))
def test_every_matrix_is_made(name: str, saved: Saved) -> None:
    dense, made = load(saved(name), None), load(saved(name), "int4")
    decoder = dense.merge(dense.params)
    weights = quantised_weights(made)
    for path, weight in weights.items():
        module = decoder
        for step in path.split("."):
            module = module[int(step)] if step.isdigit() else getattr(module, step)
        assert_made_of(weight, np.asarray(module.weight[...]))
    num_layers = dense.config.num_layers
    products_of_a_layer = sum(1 for path in weights if path.startswith("layers.0."))
    assert products_of_a_layer >= 4
    assert len(weights) >= 4 * num_layers + 1


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["llama-tied", "phi3", "gpt-neox", "mixtral"])
def test_weights_split_over_devices_are_those_of_one(
    name: str, option: Option, saved: Saved
) -> None:
    one, two = load(saved(name), option), load(saved(name), option, tensor_parallel=2)
    for ours, theirs in zip(two.params, one.params, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("option", ["int8", "int4"])
def test_experts_are_shared_with_their_scales(option: Option, saved: Saved) -> None:
    mesh = make_mesh(tensor_parallel=2, expert_parallel=2)
    shared = load_model(saved("mixtral"), dtype=FLOAT32, mesh=mesh, quantize=option)
    run = PagedRun(shared, XlaAttention(), mesh, rows=1)
    assert_agrees(run.step([TOKENS])[0], logits(load(saved("mixtral"), option)))


def test_scales_are_split_with_their_rows_and_groups(saved: Saved) -> None:
    weights = quantised_weights(load(saved("llama-wide-heads"), "int4", tensor_parallel=2))
    shards = {
        name.rpartition(".")[2]: weight.scales[...].sharding.shard_shape(weight.scales.shape)
        for name, weight in weights.items()
        if name.startswith("layers.0.self_attn")
    }
    assert shards == {"q_proj": (32, 1), "k_proj": (16, 1), "v_proj": (16, 1), "o_proj": (32, 1)}


@pytest.mark.parametrize("option", ["int4", "fp8"])
@pytest.mark.parametrize("name", ["llama-tied", "mixtral"])
def test_logits_are_those_of_the_floats(name: str, option: Option, saved: Saved) -> None:
    model = load(saved(name), option)
    assert_agrees(logits(model), logits(dequantised(model)))


def test_int8_inputs_on_a_cpu_stay_near_the_floats(saved: Saved) -> None:
    model = load(saved("llama"), "int8")
    assert {how.int8_inputs for how in model.quantizations().values()} == {"on_cpu"}
    ours, floats = logits(model), logits(load(saved("llama"), None))
    assert np.linalg.norm(ours - floats) < 0.05 * np.linalg.norm(floats)


@pytest.mark.parametrize("option", OPTIONS)
def test_split_products_agree_with_those_of_one_device(option: Option, saved: Saved) -> None:
    whole = logits(load(saved("llama-wide-heads"), option))
    split = logits(load(saved("llama-wide-heads"), option, tensor_parallel=2), tensor_parallel=2)
    assert_agrees(split, whole)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["llama-tied", "mixtral"])
def test_made_weights_are_converted_and_restored(
    name: str, option: Option, saved: Saved, tmp_path: Path
) -> None:
    made = load(saved(name), option)
    shutil.copy(saved(name) / "config.json", tmp_path)
    write_params(tmp_path, made.params_by_path(), source=name, quantizations=made.quantizations())
    restored = load(tmp_path, None, tensor_parallel=2)
    assert restored.quantizations() == made.quantizations() != {}
    for ours, theirs in zip(restored.params, made.params, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ConfigError, match="leave quantize = fp8 out here"):
        load(tmp_path, "fp8")
