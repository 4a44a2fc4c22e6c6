from typing import Any

import jax.numpy as jnp
import pytest
from flax import nnx

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.decoder import Decoder
from jaxserve.models.families.registry import FAMILIES, read_model_config


def test_an_unknown_architecture_is_refused_with_what_is_supported() -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        read_model_config({"architectures": ["LlamaForCausalLMs"]}, "m/config.json")
    message = str(refusal.value)
    assert message.startswith("m/config.json: the architecture LlamaForCausalLMs is not")
    assert "supported are LlamaForCausalLM; the nearest is LlamaForCausalLM" in message


@pytest.mark.parametrize("names", [None, [], "LlamaForCausalLM", [1], ["A", "B"]])
def test_a_config_names_one_architecture(names: Any) -> None:
    with pytest.raises(CheckpointError, match="one model class"):
        read_model_config({"architectures": names}, "config.json")


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_row_of_a_key_table_leads_to_a_parameter(architecture: str) -> None:
    biases = {"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 1}
    family, config = read_model_config({"architectures": [architecture], **biases}, "config.json")
    state = nnx.state(nnx.eval_shape(lambda: Decoder(config, dtype=jnp.dtype("float32"))))
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)}
    assert {path.replace("*", "0") for path in family.keys.values()} == paths
