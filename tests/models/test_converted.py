"""Converted weights come back bit for bit, on any mesh, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.errors import CheckpointError, ConfigError
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.converted import NOTE_FILE, weight_files, write_params
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.models.source import open_weights
from jaxserve.models.source import weight_files as files_of
from jaxserve.sharding.mesh import make_mesh
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees

Saved = Callable[[str], Path]
TOKENS = [5, 17, 3, 60, 8, 8, 21]


def load(folder: Path, *, tensor_parallel: int = 1, dtype: str = "float32") -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return load_model(folder, dtype=jnp.dtype(dtype), mesh=mesh)


def convert(original: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text((original / "config.json").read_text())
    write_params(folder, load(original).params_by_path(), source="owner/name", quantizations={})
    return folder


@pytest.fixture
def converted(saved: Saved, tmp_path: Path) -> Path:
    return convert(saved("phi3"), tmp_path / "converted")


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4])
def test_any_mesh_restores_the_same_model(
    saved: Saved, converted: Path, tensor_parallel: int
) -> None:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    logits = []
    for folder in (saved("phi3"), converted):
        model = load(folder, tensor_parallel=tensor_parallel)
        logits.append(PagedRun(model, XlaAttention(), mesh, rows=1).step([TOKENS])[0])
    np.testing.assert_array_equal(logits[0], logits[1])
    alone = PagedRun(load(saved("phi3")), XlaAttention(), make_mesh(tensor_parallel=1), rows=1)
    assert_agrees(logits[1], alone.step([TOKENS])[0])


def test_parameters_are_laid_out_as_when_loaded(saved: Saved, converted: Path) -> None:
    before, after = (load(f, tensor_parallel=2) for f in (saved("phi3"), converted))
    for one, other in zip(before.params, after.params, strict=True):
        assert one.sharding == other.sharding
        np.testing.assert_array_equal(one, other)


def test_weights_are_cast_to_the_type_that_is_served(saved: Saved, converted: Path) -> None:
    before, after = (load(f, dtype="bfloat16") for f in (saved("phi3"), converted))
    for one, other in zip(before.params, after.params, strict=True):
        assert other.dtype == jnp.bfloat16
        np.testing.assert_array_equal(one, other)


def test_a_mesh_that_does_not_divide_the_model_is_refused(converted: Path) -> None:
    with pytest.raises(ConfigError, match="does not divide q_heads = 4"):
        load(converted, tensor_parallel=8)


def test_another_format_is_refused(converted: Path) -> None:
    note = json.loads((converted / NOTE_FILE).read_text())
    (converted / NOTE_FILE).write_text(json.dumps({**note, "format": 99}))
    with pytest.raises(CheckpointError, match=r"into format 99.* convert owner/name again"):
        load(converted)


def test_a_config_that_was_changed_is_refused_by_the_keys(converted: Path) -> None:
    raw = json.loads((converted / "config.json").read_text())
    changes = {"num_hidden_layers": 1, "intermediate_size": 40, "tie_word_embeddings": True}
    (converted / "config.json").write_text(json.dumps({**raw, **changes}))
    with pytest.raises(CheckpointError) as refusal:
        load(converted)
    message = str(refusal.value)
    assert "10 unused: layers.1.input_layernorm.weight, " in message
    assert "layers.0.mlp.down_proj.weight (stored [32, 48], by the config [32, 40])" in message


def test_missing_parameters_and_other_kinds_are_named(saved: Saved, tmp_path: Path) -> None:
    params = load(saved("phi3")).params_by_path()
    del params["norm.weight"]
    params["lm_head.weight"] = params["lm_head.weight"].astype(jnp.int8)
    folder = tmp_path / "converted"
    folder.mkdir()
    (folder / "config.json").write_text((saved("phi3") / "config.json").read_text())
    write_params(folder, params, source="owner/name", quantizations={})
    with pytest.raises(CheckpointError) as refusal:
        load(folder)
    assert "1 missing: norm.weight" in str(refusal.value)
    assert "lm_head.weight (stored int8, by the config float32)" in str(refusal.value)


@pytest.mark.parametrize("broken", ["_METADATA", "."])
def test_weights_that_are_incomplete_are_refused(converted: Path, broken: str) -> None:
    path = converted / "weights" / broken
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match=r"cannot be read .* convert the model again"):
        load(converted)


def test_what_is_converted_is_no_checkpoint_to_convert(converted: Path) -> None:
    assert files_of(converted) == weight_files(converted) != []
    with pytest.raises(CheckpointError, match="is converted already"):
        open_weights(converted)
