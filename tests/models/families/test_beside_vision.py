"""Configs and keys of text models beside a vision tower, as older and newer files spell them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.loading import load_model
from jaxserve.sharding.mesh import make_mesh

# Laid out as in a released Gemma 3 4B.
GEMMA_3: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 256,
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {"model_type": "siglip_vision_model"},
}


def read(raw: dict[str, Any], **changes: Any) -> DecoderConfig:
    return read_model_config({**raw, **changes}, "config.json")[1]


def test_a_released_config_reads() -> None:
    config = read(GEMMA_3)
    assert (config.embed_dim, config.num_layers, config.num_kv_heads) == (2560, 34, 4)
    assert config.tied_embeddings


def test_the_text_model_is_that_of_the_text_architecture() -> None:
    alone = {**GEMMA_3["text_config"], "architectures": ["Gemma3ForCausalLM"]}
    assert read(GEMMA_3) == read_model_config(alone, "config.json")[1]


def test_ties_outside_of_the_text_config_go_first() -> None:
    text = {"model_type": "mistral", "tie_word_embeddings": True}
    mistral = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": text}
    assert read(mistral).tied_embeddings
    assert not read(mistral, tie_word_embeddings=False).tied_embeddings


@pytest.mark.parametrize(
    ("changes", "error", "names"),
    [
        ({"text_config": None}, CheckpointError, "text_config = absent: it must be an object"),
        ({"text_config": {"model_type": "gemma2"}}, UnsupportedModel, "model_type = 'gemma2'"),
        ({"text_config": {"new": 1}}, UnsupportedModel, "text_config in config.json: .* new = 1"),
        ({"new": 1}, UnsupportedModel, "new = 1"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    changes: dict[str, Any], error: type[Exception], names: str
) -> None:
    with pytest.raises(error, match=names):
        read(GEMMA_3, **changes)


def newer(key: str) -> str:
    """A key that save_pretrained writes as files of 2025 spell it, as newer ones do."""
    for before, after in (
        ("language_model.model.", "model.language_model."),
        ("language_model.lm_head.", "lm_head."),
    ):
        if key.startswith(before):
            return after + key.removeprefix(before)
    return f"model.{key}"


def test_older_and_newer_keys_are_read_and_towers_are_not(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    older = saved("mistral-beside-vision")
    folder = shutil.copytree(older, tmp_path / "newer")
    stored = load_file(folder / "model.safetensors")
    assert any(key.startswith("vision_tower.") for key in stored)
    renamed = {newer(key): value for key, value in stored.items()}
    save_file(renamed, folder / "model.safetensors")
    mesh, dtype = make_mesh(tensor_parallel=1), jnp.dtype("float32")
    one, other = (load_model(path, dtype=dtype, mesh=mesh) for path in (older, folder))
    for left, right in zip(one.params, other.params, strict=True):
        np.testing.assert_array_equal(left, right)


def test_layers_that_draft_and_a_tower_of_qwens_are_left_where_they_are(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(saved("qwen3-5-beside-vision"), tmp_path / "drafting")
    stored = load_file(folder / "model.safetensors")
    assert any(key.startswith("model.visual.") for key in stored)
    save_file({**stored, "mtp.fc.weight": np.zeros((2, 2))}, folder / "model.safetensors")
    load_model(folder, dtype=jnp.dtype("float32"), mesh=make_mesh(tensor_parallel=1))
