"""Random weights have the form of the real ones and numbers that a forward pass survives."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.errors import ConfigError
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.footprint import footprint
from jaxserve.models.loading import LoadedModel, load_model, make_model
from jaxserve.models.making import Option
from jaxserve.models.source import read_raw_config
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import TINY_LLAMA, write_tiny_llama

SHAPES = Path(__file__).parents[2] / "configs" / "shapes"
FLOAT32 = jnp.dtype("float32")


def write_config(folder: Path, **changes: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**TINY_LLAMA, **changes}))
    return folder


def make(folder: Path, *, tensor_parallel: int = 1, quantize: Option | None = None) -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return make_model(folder, dtype=FLOAT32, mesh=mesh, quantize=quantize)


@pytest.mark.parametrize("quantize", [None, "int8", "int4", "fp8"])
def test_the_form_is_that_of_weights_that_are_read(tmp_path: Path, quantize: Option | None) -> None:
    stored = write_tiny_llama(tmp_path / "stored")
    mesh = make_mesh(tensor_parallel=2)
    read = load_model(stored, dtype=FLOAT32, mesh=mesh, quantize=quantize).params_by_path()
    made = make(write_config(tmp_path), tensor_parallel=2, quantize=quantize).params_by_path()
    assert made.keys() == read.keys()
    for path, param in made.items():
        assert (param.shape, param.dtype) == (read[path].shape, read[path].dtype)
        assert param.sharding.is_equivalent_to(read[path].sharding, param.ndim), path


@pytest.mark.parametrize("quantize", ["int8", "int4", "fp8"])
def test_quantised_weights_stand_for_numbers_as_large_as_floats(
    tmp_path: Path, quantize: Option
) -> None:
    model = make(write_config(tmp_path), quantize=quantize)
    floats = model.merge(model.params).layers[0].mlp.up_proj.weight.floats()
    assert float(np.std(floats)) == pytest.approx(0.02, rel=0.1)


def test_weights_differ_and_do_not_depend_on_the_mesh(tmp_path: Path) -> None:
    alone = make(write_config(tmp_path)).params_by_path()
    shared = make(tmp_path, tensor_parallel=2).params_by_path()
    for path, param in alone.items():
        np.testing.assert_array_equal(param, shared[path])
    first, second = (alone[f"layers.{i}.mlp.up_proj.weight"] for i in range(2))
    assert np.std(first) == pytest.approx(0.02, rel=0.1)
    assert not np.array_equal(first, second)
    assert (np.asarray(alone["norm.weight"]) == 1).all()


def test_a_config_of_quantised_weights_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ConfigError, match="quantization_config"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("llama-135m", 134.5), ("qwen3-0.6b", 596.0), ("llama-8b", 8030.3), ("llama-70b", 70553.7)],
)
def test_the_measured_shapes_have_the_sizes_of_their_models(name: str, millions: float) -> None:
    _, config = read_model_config(read_raw_config(SHAPES / name), name)
    num_params = footprint(config, FLOAT32).num_params
    assert num_params / 1e6 == pytest.approx(millions, abs=0.1)
