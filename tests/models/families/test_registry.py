import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
import transformers
from flax import nnx

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.decoder import Decoder
from jaxserve.models.families.registry import FAMILIES, read_model_config
from jaxserve.models.stored import Layout
from tests.models.variant import classes_of
from tests.models.variants import VARIANTS

# What a config object holds, and save_pretrained leaves out.
NOT_SAVED = json.loads(transformers.PreTrainedConfig().to_json_string(use_diff=False)).keys() - {
    "tie_word_embeddings"
}

# Without these there is no model: transformers has no default for them, or none that fits.
NEEDED: dict[str, dict[str, Any]] = {
    "DeepseekV2ForCausalLM": {"num_experts_per_tok": 6},
    "Dots1ForCausalLM": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "Gemma3ForConditionalGeneration": {"text_config": {}},
    "Gemma4ForConditionalGeneration": {"text_config": {}},
    "Glm4MoeForCausalLM": {"head_dim": 128},
    "Lfm2MoeForCausalLM": {"layer_types": ["conv", "full_attention"] * 16},
    "Llama4ForConditionalGeneration": {"text_config": {}},
    # The default is True, yet an output that is stored is used: released files store one and say
    # nothing.
    "Mistral3ForConditionalGeneration": {"text_config": {}, "tie_word_embeddings": False},
    "Qwen3_5ForConditionalGeneration": {"text_config": {}},
    "Qwen3_5MoeForConditionalGeneration": {"text_config": {}},
}


def test_an_unknown_architecture_is_refused_with_what_is_supported() -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        read_model_config({"architectures": ["LlamaForCausalLMs"]}, "m/config.json")
    message = str(refusal.value)
    assert message.startswith("m/config.json: the architecture LlamaForCausalLMs is not")
    assert "supported are ArceeForCausalLM, " in message
    assert message.endswith("the nearest is LlamaForCausalLM")


@pytest.mark.parametrize("names", [None, [], "LlamaForCausalLM", [1], ["A", "B"]])
def test_a_config_names_one_architecture(names: Any) -> None:
    with pytest.raises(CheckpointError, match="one model class"):
        read_model_config({"architectures": names}, "config.json")


def modules_of(config: DecoderConfig) -> set[str]:
    """The paths of all modules with parameters, `*` for a layer's number."""
    state = nnx.state(nnx.eval_shape(lambda: Decoder(config, dtype=jnp.dtype("float32"))))
    paths = (".".join(map(str, path[:-1])) for path, _ in nnx.to_flat_state(state))
    return {re.sub(r"^layers\.\d+", "layers.*", path) for path in paths}


def modules_named(row: str | Layout) -> set[str]:
    """The modules that a row of a family's table leads to."""
    if isinstance(row, str):
        return {row}
    return {path.rpartition(".")[0] for path in row.paths} if row.is_tensor else set(row.paths)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_row_of_a_table_leads_to_a_module_of_some_variant(
    architecture: str, saved: Callable[[str], Path]
) -> None:
    found: set[str] = set()
    for name, variant in VARIANTS.items():
        if variant.architecture == architecture:
            raw = json.loads((saved(name) / "config.json").read_text())
            _, config = read_model_config(raw, name)
            found |= modules_of(replace(config, layers=tuple(dict.fromkeys(config.layers))))
    named = {path for row in FAMILIES[architecture].modules.values() for path in modules_named(row)}
    assert named - {"lm_head"} == found - {"lm_head"}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_absent_attributes_are_those_of_transformers(architecture: str) -> None:
    config_class, _ = classes_of(architecture)
    spelled_out = json.loads(config_class().to_json_string(use_diff=False))
    kept = {key: value for key, value in spelled_out.items() if key not in NOT_SAVED}
    named = {"architectures": [architecture], **NEEDED.get(architecture, {})}
    absent = read_model_config(named, "config.json")[1]
    assert read_model_config({**kept, **named}, "config.json")[1] == absent
