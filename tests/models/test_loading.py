import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from jaxserve.errors import CheckpointError, ConfigError, UnsupportedModel
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.sharding.mesh import make_mesh

Saved = Callable[[str], Path]
FLOAT32 = jnp.dtype("float32")
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


def load(folder: Path, *, tensor_parallel: int = 1, dtype: str = "float32") -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return load_model(folder, dtype=jnp.dtype(dtype), mesh=mesh)


@pytest.fixture
def folder(saved: Saved, tmp_path: Path) -> Path:
    """A checkpoint of its own to spoil."""
    return shutil.copytree(saved("llama"), tmp_path / "llama")


def change_config(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **changes}))


def change_weights(folder: Path, changes: Mapping[str, np.ndarray | None]) -> None:
    """Store `changes` over what is there; None takes a key away."""
    tensors = {**load_file(folder / "model.safetensors"), **changes}
    kept = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")


def test_parameters_are_what_is_stored(saved: Saved) -> None:
    model = load(saved("llama"))
    stored = load_file(saved("llama") / "model.safetensors")
    decoder = model.merge(model.params)
    layer = decoder.layers[1]
    np.testing.assert_array_equal(
        layer.self_attn.k_proj.weight[...], stored["model.layers.1.self_attn.k_proj.weight"]
    )
    np.testing.assert_array_equal(decoder.norm.weight[...], stored["model.norm.weight"])
    assert len(model.params) == len(stored)


def test_weights_are_cast_while_they_are_read(saved: Saved) -> None:
    stored = load_file(saved("llama") / "model.safetensors")["model.norm.weight"]
    model = load(saved("llama"), dtype="bfloat16")
    assert {param.dtype for param in model.params} == {jnp.dtype("bfloat16")}
    norm = model.merge(model.params).norm.weight[...]
    np.testing.assert_array_equal(norm, stored.astype(norm.dtype))


@pytest.mark.parametrize(
    ("tensor_parallel", "shards"),
    [
        (1, {"q": (32, 32), "k": (16, 32), "o": (32, 32), "down": (32, 48), "embed": (61, 32)}),
        (2, {"q": (16, 32), "k": (8, 32), "o": (32, 16), "down": (32, 24), "embed": (61, 32)}),
        # Two KV heads cannot be split over four devices, nor 61 rows over two or four.
        (4, {"q": (8, 32), "k": (16, 32), "o": (32, 8), "down": (32, 12), "embed": (61, 32)}),
    ],
)
def test_each_device_holds_its_part(
    saved: Saved, tensor_parallel: int, shards: dict[str, tuple[int, int]]
) -> None:
    model = load(saved("llama"), tensor_parallel=tensor_parallel)
    decoder = model.merge(model.params)
    layer = decoder.layers[0]
    weights = {
        "q": layer.self_attn.q_proj.weight[...],
        "k": layer.self_attn.k_proj.weight[...],
        "o": layer.self_attn.o_proj.weight[...],
        "down": layer.mlp.down_proj.weight[...],
        "embed": decoder.embed_tokens.weight[...],
    }
    found = {name: w.sharding.shard_shape(w.shape) for name, w in weights.items()}
    assert found == shards
    assert {len(w.sharding.device_set) for w in weights.values()} == {tensor_parallel}


def test_biases_are_split_with_their_rows(saved: Saved) -> None:
    model = load(saved("llama-attention-bias"), tensor_parallel=4)
    attention = model.merge(model.params).layers[0].self_attn
    shapes = {
        name: (bias := getattr(attention, name).bias[...]).sharding.shard_shape(bias.shape)
        for name in ("q_proj", "k_proj", "o_proj")
    }
    assert shapes == {"q_proj": (8,), "k_proj": (16,), "o_proj": (32,)}


def test_a_mesh_that_does_not_divide_the_model_is_refused(saved: Saved) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(saved("llama"), tensor_parallel=8)
    assert "does not divide q_heads = 4 of this model; it can be 1, 2 or 4" in str(refusal.value)


def test_merging_costs_nothing_but_tracing(saved: Saved) -> None:
    model = load(saved("llama"))

    def norm(params: tuple[jax.Array, ...]) -> jax.Array:
        weight: jax.Array = model.merge(params).norm.weight[...]
        return weight

    assert len(jax.make_jaxpr(norm)(model.params).eqns) == 0


def test_a_bar_shows_progress_when_asked(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = make_mesh(tensor_parallel=1)
    load_model(saved("llama"), dtype=FLOAT32, mesh=mesh)
    assert capsys.readouterr().err == ""
    load_model(saved("llama"), dtype=FLOAT32, mesh=mesh, progress=True)
    assert "loading weights: 100%" in capsys.readouterr().err


def test_every_key_that_does_not_fit_is_reported_at_once(folder: Path) -> None:
    change_weights(
        folder,
        {
            Q_PROJ: None,
            "model.norm.weight": None,
            "model.layers.0.self_attn.q_proj.bias": np.ones(32, np.float32),
            "model.layers.7.mlp.up_proj.weight": np.ones((48, 32), np.float32),
            "lm_head.weight": np.ones((60, 32), np.float32),
            "model.embed_tokens.weight": np.ones((61, 32), np.int8),
        },
    )
    with pytest.raises(CheckpointError) as refusal:
        load(folder)
    message = str(refusal.value)
    assert message.startswith(f"{folder}: the weights do not fit config.json")
    assert f"2 missing: {Q_PROJ}, model.norm.weight" in message
    assert "2 unused: model.layers.0.self_attn.q_proj.bias, model.layers.7.mlp.up" in message
    assert (
        "1 of the wrong shape: lm_head.weight (stored [60, 32], by the config [61, 32])" in message
    )
    assert "1 of a type that is not read: model.embed_tokens.weight (I8)" in message


def test_a_long_report_is_cut(folder: Path) -> None:
    change_config(folder, num_hidden_layers=4)
    with pytest.raises(CheckpointError, match=r"18 missing: .* \.\.\. and 10 more"):
        load(folder)


def test_rotation_tables_of_older_checkpoints_are_ignored(folder: Path) -> None:
    table = np.ones(4, np.float32)
    change_weights(folder, {"model.layers.1.self_attn.rotary_emb.inv_freq": table})
    load(folder)


def test_a_copy_of_a_tied_embedding_is_ignored(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=True)
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    change_weights(folder, {"lm_head.weight": embedding})
    model = load(folder)
    assert model.merge(model.params).lm_head is None


def test_a_checkpoint_may_leave_its_prefix_out(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("gpt2"), tmp_path / "gpt2")
    stored = load_file(folder / "model.safetensors")
    bare = {key.removeprefix("transformer."): tensor for key, tensor in stored.items()}
    save_file({**bare, "h.0.attn.bias": np.ones((1, 1), np.float32)}, folder / "model.safetensors")
    ours, whole = load(folder), load(saved("gpt2"))
    for one, other in zip(ours.params, whole.params, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fused_tensors_are_split_over_devices(saved: Saved) -> None:
    one, four = load(saved("phi3")), load(saved("phi3"), tensor_parallel=4)
    for whole, split in zip(one.params, four.params, strict=True):
        np.testing.assert_array_equal(whole, split)


def test_a_fused_tensor_of_the_wrong_shape_is_named(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("phi3"), tmp_path / "phi3")
    key = "model.layers.0.self_attn.qkv_proj.weight"
    change_weights(folder, {key: np.ones((63, 32), np.float32)})
    with pytest.raises(CheckpointError, match=r"stored \[63, 32\], by the config \[64, 32\]"):
        load(folder)


def test_experts_are_read_as_transformers_holds_them(saved: Saved, tmp_path: Path) -> None:
    whole = transformers.AutoModelForCausalLM.from_pretrained(saved("mixtral"))
    whole.save_pretrained(tmp_path, save_original_format=False)
    assert "model.layers.0.mlp.experts.gate_up_proj" in load_file(tmp_path / "model.safetensors")
    for one, other in zip(load(tmp_path).params, load(saved("mixtral")).params, strict=True):
        np.testing.assert_array_equal(one, other)


def test_experts_are_shared_among_devices(saved: Saved) -> None:
    mesh = make_mesh(tensor_parallel=2, expert_parallel=4)
    model = load_model(saved("mixtral"), dtype=FLOAT32, mesh=mesh)
    mlp = model.merge(model.params).layers[0].mlp
    held = {
        "up": mlp.experts.up_proj.weight[...],
        "down": mlp.experts.down_proj.weight[...],
        "router": mlp.router.weight[...],
    }
    found = {name: w.sharding.shard_shape(w.shape) for name, w in held.items()}
    assert found == {"up": (1, 24, 32), "down": (1, 32, 24), "router": (4, 32)}


def test_experts_that_cannot_be_shared_evenly_are_refused(saved: Saved) -> None:
    mesh = make_mesh(tensor_parallel=1, expert_parallel=3)
    with pytest.raises(ConfigError, match="expert_parallel = 3 does not divide experts = 4"):
        load_model(saved("mixtral"), dtype=FLOAT32, mesh=mesh)


def test_a_model_without_experts_is_not_shared(saved: Saved) -> None:
    mesh = make_mesh(tensor_parallel=1, expert_parallel=2)
    with pytest.raises(ConfigError, match="expert_parallel = 2, but this model has no experts"):
        load_model(saved("llama"), dtype=FLOAT32, mesh=mesh)


def test_an_expert_that_is_not_stored_is_named(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("mixtral"), tmp_path / "mixtral")
    key = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    change_weights(folder, {key: None})
    with pytest.raises(CheckpointError, match=rf"1 missing: {key}"):
        load(folder)


def test_a_tied_output_of_its_own_is_refused(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"lm_head.weight is stored in .* and differs"):
        load(folder)


def test_an_untied_output_has_to_be_there(folder: Path) -> None:
    change_weights(folder, {"lm_head.weight": None})
    with pytest.raises(CheckpointError, match=r"1 missing: lm_head.weight"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no folder .*gone"):
        load(tmp_path / "gone")


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config.json; give a folder in the Hugging"):
        load(tmp_path)


def test_a_config_that_is_not_handled_is_refused_before_weights_are_opened(folder: Path) -> None:
    change_config(folder, attn_logit_softcapping=30.0)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match=r"config.json: not handled: attn_logit_softcapping"):
        load(folder)


def test_layers_past_the_last_are_not_read_where_they_only_guess_ahead(
    saved: Saved, tmp_path: Path
) -> None:
    folder = shutil.copytree(saved("deepseek-v3"), tmp_path / "deepseek")
    extra = np.ones((4, 4), np.float32)
    change_weights(folder, {"model.layers.3.eh_proj.weight": extra})
    assert len(load(folder).params) == len(load(saved("deepseek-v3")).params)
    change_weights(folder, {"model.layers.2.eh_proj.weight": extra})
    with pytest.raises(CheckpointError, match=r"1 unused: model\.layers\.2\.eh_proj\.weight"):
        load(folder)
