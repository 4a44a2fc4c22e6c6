"""What of PEFT's adapters is read, and what is refused, by the key that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxserve.errors import CheckpointError
from jaxserve.models.adapters import Stored
from jaxserve.models.loading import adapter_modules, load_model
from jaxserve.models.peft import read_adapter, read_rank
from jaxserve.sharding.mesh import make_mesh
from tests.peft_folders import write_adapter
from tests.tiny_models import write_tiny_llama

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture(scope="module")
def modules(base: Path) -> Stored:
    mesh = make_mesh(tensor_parallel=1)
    return adapter_modules(base, load_model(base, dtype=jnp.dtype("float32"), mesh=mesh))


def change(folder: Path, **changes: np.ndarray[Any, Any] | None) -> Path:
    path = folder / "adapter_model.safetensors"
    factors: dict[str, Any] = {**safetensors.numpy.load_file(path), **changes}
    kept = {key: value for key, value in factors.items() if value is not None}
    safetensors.numpy.save_file(kept, path)
    return folder


def test_layers_are_named_as_checkpoints_name_them(modules: Stored) -> None:
    (held,) = modules["model.layers.1.mlp.up_proj"]
    assert held.path == "layers.1.mlp.up_proj"
    assert held.piece.stored_shape == (48, 32)
    assert len(modules) == 14


def test_scales_are_those_of_the_layers(tmp_path: Path, base: Path, modules: Stored) -> None:
    folder = write_adapter(tmp_path / "a", base, rank=4, alpha=8.0, alpha_pattern={"v_proj": 2.0})
    stored = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    read = read_adapter(folder, modules, max_rank=4)
    for name, scale in (("q_proj", 2.0), ("v_proj", 0.5)):
        up = stored[f"base_model.model.model.layers.0.self_attn.{name}.lora_B.weight"]
        np.testing.assert_allclose(read[f"layers.0.self_attn.{name}"][1], up * scale)


def test_the_largest_rank_is_that_of_the_patterns(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(tmp_path / "a", base, rank=4, rank_pattern={"q_proj": 32})
    assert read_rank(folder) == 32


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=str,
)
def test_what_is_more_than_lora_is_refused_by_name(
    tmp_path: Path, base: Path, modules: Stored, config: dict[str, Any]
) -> None:
    folder = write_adapter(tmp_path / "a", base, **config)
    with pytest.raises(CheckpointError, match=next(iter(config))):
        read_adapter(folder, modules, max_rank=8)


def test_keys_that_do_not_fit_are_named(tmp_path: Path, base: Path, modules: Stored) -> None:
    stranger = "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"
    small = np.zeros((4, 8), np.float32)
    folder = change(write_adapter(tmp_path / "a", base), **{stranger: small, FIRST: small})
    with pytest.raises(CheckpointError) as refused:
        read_adapter(folder, modules, max_rank=8)
    assert f"{stranger} fits no layer" in str(refused.value)
    assert f"{FIRST} has shape (4, 8), and dimension 1 must be 32" in str(refused.value)


def test_half_a_pair_is_refused(tmp_path: Path, base: Path, modules: Stored) -> None:
    folder = change(write_adapter(tmp_path / "a", base), **{FIRST: None})
    with pytest.raises(CheckpointError, match="q_proj has lora_B alone"):
        read_adapter(folder, modules, max_rank=8)


def test_a_rank_past_the_room_names_the_way_out(
    tmp_path: Path, base: Path, modules: Stored
) -> None:
    with pytest.raises(CheckpointError, match=r"has rank 4, .* --max-lora-rank 4"):
        read_adapter(write_adapter(tmp_path / "a", base), modules, max_rank=2)


def test_a_folder_without_an_adapter_is_none(tmp_path: Path, modules: Stored) -> None:
    with pytest.raises(CheckpointError, match="is no adapter"):
        read_adapter(tmp_path, modules, max_rank=2)
