"""A GGUF file loads as the folder it was made from: the same config, the same parameters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.config import LinearScaling, LongScaling, YarnScaling
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.models.source import (
    open_weights,
    read_generation_config,
    read_raw_config,
    weight_files,
)
from jaxserve.sharding.mesh import make_mesh
from tests.models.gguf.gguf_files import convert, tiny_gguf
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees

Saved = Callable[[str], Path]
VARIANTS = {
    "llama": "llama",
    "llama-tied": "llama",
    "llama-multi-query": "llama",
    "llama-attention-bias": "llama",
    "llama-wide-heads": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3-moe": "qwen3moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "phi3": "phi3",
    "starcoder2": "starcoder2",
}
TOKENS = (5, 17, 3, 60, 8, 8, 21)


def load(path: Path, *, tensor_parallel: int = 1) -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return load_model(path, dtype=jnp.dtype("float32"), mesh=mesh)


@pytest.fixture
def folder(saved: Saved, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a variant that says what no GGUF file can: how Gemma 2 and 3 scale queries."""

    def copy(variant: str) -> Path:
        made = shutil.copytree(saved(variant), tmp_path / variant)
        raw = json.loads((made / "config.json").read_text())
        if "query_pre_attn_scalar" in raw:
            raw["query_pre_attn_scalar"] = raw["head_dim"]
        (made / "config.json").write_text(json.dumps(raw))
        return made

    return copy


@pytest.mark.parametrize("variant", VARIANTS)
def test_config_and_parameters_are_those_of_the_folder(
    folder: Callable[[str], Path], tmp_path: Path, variant: str
) -> None:
    original = folder(variant)
    ours, theirs = (
        load(convert(original, tmp_path / "model.gguf", VARIANTS[variant])),
        load(original),
    )
    assert ours.config == theirs.config
    for one, other in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-7)  # norms less one are rounded


@pytest.mark.parametrize("variant", ["llama", "llama-multi-query", "qwen2", "qwen3", "gemma2"])
def test_transformers_makes_the_same_of_such_a_file(
    saved: Saved, tmp_path: Path, variant: str
) -> None:
    named = {"general.name": "tiny"}
    file = convert(saved(variant), tmp_path / "a.gguf", VARIANTS[variant], metadata=named)
    config = transformers.AutoConfig.from_pretrained(saved(variant))
    model = transformers.AutoModelForCausalLM.from_config(config)
    theirs = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)["tensors"]
    ours = open_weights(file)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        np.testing.assert_array_equal(tensor.read(slice(None)), theirs[key].numpy())


def test_logits_are_those_of_the_folder(
    saved: Saved, tmp_path: Path, reference_logits: Callable[[str, tuple[int, ...]], np.ndarray]
) -> None:
    model = load(convert(saved("llama"), tmp_path / "model.gguf", "llama"))
    run = PagedRun(model, XlaAttention(), make_mesh(tensor_parallel=1), rows=1)
    assert_agrees(run.step([TOKENS])[0], reference_logits("llama", TOKENS))


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1", "F16", "BF16"])
@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_quantised_weights_are_what_the_library_makes_of_them(
    tmp_path: Path, kind: str, tensor_parallel: int
) -> None:
    wanted = gguf.GGMLQuantizationType[kind]

    def type_of(name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
        return wanted if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32

    file = tiny_gguf(tmp_path / "folder", tmp_path / "model.gguf", type_of=type_of)
    raw = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    model = load(file, tensor_parallel=tensor_parallel)
    decoder = model.merge(model.params)
    layer = decoder.layers[1]
    for name, ours in {
        "token_embd": decoder.embed_tokens,
        "output": decoder.lm_head,
        "blk.1.attn_v": layer.self_attn.v_proj,
        "blk.1.attn_output": layer.self_attn.o_proj,
        "blk.1.ffn_down": layer.mlp.down_proj,
    }.items():
        tensor = raw[f"{name}.weight"]
        assert tensor.tensor_type == wanted
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.weight[...], expected)


def rope_of(file: Path) -> Any:
    _, config = read_model_config(read_raw_config(file), str(file))
    return config.layers[0].rope


def test_rope_scalings_are_read(tmp_path: Path) -> None:
    def scaling(**more: Any) -> Any:
        metadata = {f"llama.rope.scaling.{name}": value for name, value in more.items()}
        file = tmp_path / "model.gguf"
        return rope_of(tiny_gguf(tmp_path / "folder", file, metadata=metadata)).scaling

    assert scaling() is None
    assert scaling(type="none") is None
    assert scaling(type="linear", factor=8.0) == LinearScaling(factor=8.0)
    yarn = scaling(type="yarn", factor=4.0, original_context_length=64)
    assert isinstance(yarn, YarnScaling)
    assert (yarn.factor, yarn.original_max_len) == (4.0, 64)
    with pytest.raises(UnsupportedModel, match=r"rope.scaling.type = 'new'"):
        scaling(type="new")


def test_ready_made_divisors_of_llama_3_are_read(tmp_path: Path) -> None:
    divisors = np.array([1, 1, 1, 2, 4, 8, 8, 8], np.float32)
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", more={"rope_freqs.weight": divisors})
    scaling = rope_of(file).scaling
    assert isinstance(scaling, LongScaling)
    assert scaling.short_factors == scaling.long_factors == tuple(divisors.tolist())
    assert scaling.attention_factor == 1.0
    load(file)


def test_gemma_27b_scales_queries_by_a_rule_of_its_own(saved: Saved, tmp_path: Path) -> None:
    metadata = {"gemma2.block_count": 46}
    file = convert(saved("gemma2"), tmp_path / "a.gguf", "gemma2", metadata=metadata)
    assert read_raw_config(file)["query_pre_attn_scalar"] == 32 / 4


def test_mistral_with_windows_is_known_by_them(tmp_path: Path) -> None:
    metadata = {"llama.attention.sliding_window": 16}
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", metadata=metadata)
    assert read_raw_config(file)["architectures"] == ["MistralForCausalLM"]
    assert load(file).config.layers[0].window == 16


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"general.architecture": "lama"}, "architecture = 'lama' .* the nearest is llama"),
        ({"llama.expert_count": 8}, "expert_count = 8 is not supported"),
        ({"llama.attention.value_length": 8}, "attention.value_length = 8"),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count = 8"),
        ({"llama.attention.clamp_kqv": 8.0}, "not handled: attention.clamp_kqv = 8.0"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    tmp_path: Path, metadata: dict[str, Any], says: str
) -> None:
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", metadata=metadata)
    with pytest.raises(UnsupportedModel, match=says):
        load(file)


def test_sampling_defaults_are_read(tmp_path: Path) -> None:
    metadata = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20}
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", metadata=metadata)
    assert read_generation_config(file) == {"temperature": 0.6, "top_k": 20}


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    more = {"blk.0.new.weight": np.ones((2, 32), np.float32)}
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", more=more)
    with pytest.raises(CheckpointError, match=r"1 unused: blk.0.new.weight"):
        load(file)


def test_a_projector_is_no_model(tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf", without="token_embd.weight")
    with pytest.raises(UnsupportedModel, match="no whole model"):
        load(file)


def test_the_file_is_what_holds_the_weights(tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "folder", tmp_path / "a.gguf")
    assert weight_files(file) == [file]
    assert "model.layers.0.self_attn.q_proj.weight" in open_weights(file)
