import json
from typing import Any

import jax.numpy as jnp
import pytest
import transformers
from flax import nnx

from jaxserve.errors import UnsupportedModel
from jaxserve.models.encoders.registry import ENCODERS, labels_of, pools, read_backbone
from jaxserve.models.pooled import PooledModel
from jaxserve.models.pooled_config import PooledConfig
from tests.models.families.test_registry import NOT_SAVED
from tests.models.pooled_variants import BERT, POOLED_VARIANTS

RELEASED_NOMIC = {
    "activation_function": "swiglu",
    "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling.NomicBertModel"},
    "causal": False,
    "dense_seq_output": True,
    "fused_bias_fc": True,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 48,
    "n_layer": 3,
    "n_positions": 8192,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_scaling_factor": None,
    "type_vocab_size": 2,
    "use_rms_norm": False,
    "vocab_size": 61,
}


@pytest.mark.parametrize("base", ENCODERS)
def test_absent_attributes_are_those_of_transformers(base: str) -> None:
    architecture = f"{base}Model"
    config_class = getattr(transformers, architecture).config_class
    spelled_out = json.loads(config_class().to_json_string(use_diff=False))
    unsaved = NOT_SAVED | {"tie_word_embeddings"}
    kept = {key: value for key, value in spelled_out.items() if key not in unsaved}
    kept |= {"pad_token_id": spelled_out["pad_token_id"]}
    absent = read_backbone({}, architecture, "config.json").config
    assert read_backbone(kept, architecture, "config.json").config == absent


@pytest.mark.parametrize("base", ENCODERS)
def test_every_row_of_a_table_leads_to_a_module(base: str) -> None:
    found: set[str] = set()
    for variant in POOLED_VARIANTS.values():
        if variant.architecture.startswith(base):
            raw = {**variant.base, **variant.overrides}
            read = read_backbone(raw, variant.architecture, "config.json")
            config = PooledConfig(backbone=read.config, pooling=("cls",), head=read.head)
            state = nnx.state(
                nnx.eval_shape(lambda c=config: PooledModel(c, dtype=jnp.dtype("float32")))
            )
            found |= {".".join(map(str, path[:-1])) for path, _ in nnx.to_flat_state(state)}
    family = ENCODERS[base]
    rows = [*family.modules.values()]
    named = {path for row in rows for path in ([row] if isinstance(row, str) else row.paths)}
    starred = {path.replace(f"layers.{i}.", "layers.*.") for path in found for i in range(4)}
    assert {f"backbone.{path}" for path in named} == {
        path
        for path in starred
        if path.startswith("backbone.") and not any(c.isdigit() for c in path)
    }
    heads = {f"head.{path}" for path in family.head_modules.values()}
    assert heads == {path for path in found if path.startswith("head.")}


def test_both_spellings_of_a_nomic_bert_say_the_same() -> None:
    released = read_backbone(RELEASED_NOMIC, "NomicBertModel", "config.json").config
    ours = {**BERT, "max_position_embeddings": 8192, "type_vocab_size": 2}
    assert released == read_backbone(ours, "NomicBertModel", "config.json").config


def test_a_scaled_nomic_bert_reads_no_more_than_it_was_trained_on() -> None:
    scaled = {**RELEASED_NOMIC, "rotary_scaling_factor": 2}
    assert read_backbone(scaled, "NomicBertModel", "c").config.max_model_len == 2048


def test_a_roberta_has_fewer_positions_than_rows() -> None:
    read = read_backbone({"max_position_embeddings": 514}, "RobertaModel", "config.json")
    assert read.config.max_model_len == 512


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"some_new_thing": 1}, "some_new_thing"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(attributes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        read_backbone(attributes, "BertModel", "config.json")


def test_an_unknown_encoder_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnsupportedModel, match=r"MPNetModel is not.*Bert, Camembert"):
        read_backbone({}, "MPNetModel", "config.json")


@pytest.mark.parametrize(
    ("architecture", "has_modules", "expected"),
    [
        ("BertModel", False, True),
        ("BertForMaskedLM", False, True),
        ("BertForTokenClassification", False, False),
        ("Qwen3ForSequenceClassification", False, True),
        ("Qwen3ForCausalLM", False, False),
        ("Qwen3ForCausalLM", True, True),
        ("Qwen3Model", False, True),
        ("FooForCausalLM", True, False),
        ("FooForMaskedLM", False, True),
        ("FooModel", False, False),
    ],
)
def test_who_pools(architecture: str, has_modules: bool, expected: bool) -> None:
    assert pools(architecture, has_modules=has_modules) is expected


def test_labels_have_names() -> None:
    assert labels_of({"id2label": {"1": "bad", "0": "good", "10": "x"}}) == ("good", "bad", "x")
    assert labels_of({"num_labels": 3}) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert labels_of({}) == ("LABEL_0", "LABEL_1")
