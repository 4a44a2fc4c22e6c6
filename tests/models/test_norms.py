from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from jaxserve.models.config import NormConfig
from jaxserve.models.norms import Norm, normed
from tests.models.tolerance import assert_agrees

FLOAT32, BFLOAT16 = jnp.dtype("float32"), jnp.dtype("bfloat16")
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(5, 32)).astype(np.float32) + 0.5
VECTORS = {name: DRAW.normal(size=32).astype(np.float32) for name in ("weight", "bias")}

KINDS = {
    "llama": (LlamaRMSNorm, NormConfig(eps=0.1, rounds_first=True)),
    "olmo2": (Olmo2RMSNorm, NormConfig(eps=0.1)),
    "gemma2": (Gemma2RMSNorm, NormConfig(eps=0.1, weight="plus_one")),
    "cohere": (CohereLayerNorm, NormConfig(eps=0.1, centered=True)),
    "torch": (torch.nn.LayerNorm, NormConfig(eps=0.1, centered=True, bias=True)),
    "nemotron": (
        NemotronLayerNorm1P,
        NormConfig(eps=0.1, centered=True, weight="plus_one", bias=True),
    ),
}


def filled(norm: Norm, dtype: jnp.dtype) -> Norm:
    for name, vector in VECTORS.items():
        if getattr(norm, name) is not None:
            getattr(norm, name)[...] = jnp.asarray(vector, dtype)
    return norm


def pair(kind: str, dtype: jnp.dtype, torch_dtype: torch.dtype) -> tuple[Norm, Any]:
    reference_class, config = KINDS[kind]
    reference = reference_class(32, eps=0.1)
    for name, parameter in reference.named_parameters():
        parameter.data = torch.tensor(VECTORS[name])
    ours = filled(Norm(config, (32,), ("embed",), dtype=dtype), dtype)
    return ours, reference.to(torch_dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_agree(kind: str) -> None:
    ours, reference = pair(kind, FLOAT32, torch.float32)
    assert_agrees(ours(jnp.asarray(X)), reference(torch.tensor(X)).detach().numpy())


@pytest.mark.parametrize("kind", ["llama", "olmo2", "gemma2"])
def test_norms_in_bfloat16_round_where_transformers_does(kind: str) -> None:
    ours, reference = pair(kind, BFLOAT16, torch.bfloat16)
    expected = reference(torch.tensor(X).bfloat16()).detach().float().numpy()
    np.testing.assert_array_equal(ours(jnp.asarray(X, BFLOAT16)).astype(jnp.float32), expected)


def test_a_norm_without_weight_has_no_parameters() -> None:
    ours = Norm(
        NormConfig(eps=1e-5, centered=True, weight="none"), (32,), ("embed",), dtype=FLOAT32
    )
    assert ours.weight is None and ours.bias is None
    assert_agrees(ours(jnp.asarray(X)), OlmoLayerNorm(32)(torch.tensor(X)).numpy())


def test_a_weight_may_have_a_row_a_head() -> None:
    norm = Norm(NormConfig(eps=0.1), (2, 16), ("q_heads", "head_dim"), dtype=FLOAT32)
    norm.weight[...] = jnp.asarray([[1.0] * 16, [2.0] * 16])
    one_head = Norm(NormConfig(eps=0.1, weight="none"), (16,), ("head_dim",), dtype=FLOAT32)
    heads = jnp.asarray(X).reshape(5, 2, 16)
    assert_agrees(norm(heads)[:, 0], one_head(heads[:, 0]))
    assert_agrees(norm(heads)[:, 1], 2 * one_head(heads[:, 1]))


def test_without_a_norm_nothing_changes() -> None:
    assert normed(None, jnp.asarray(X)).tolist() == X.tolist()
