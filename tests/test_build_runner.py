"""What a runner is made of is chosen by what the platform can do, and said."""

from __future__ import annotations

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh

from jaxserve import build_runner
from jaxserve.build_runner import Loaded
from jaxserve.config import EngineConfig
from jaxserve.models.attention.interface import Demands
from jaxserve.models.attention.registry import Chosen
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.loading import LoadedModel
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import TINY_LLAMA


def test_attention_that_is_wrong_here_is_replaced_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replaced(asked: str, demands: Demands, mesh: Mesh) -> Chosen:
        assert (asked, demands.page_size, demands.tensor_parallel) == ("xla", 32, 2)
        return Chosen(XlaAttention(), "faulty", "other differs from xla")

    monkeypatch.setattr(build_runner, "choose", replaced)
    config = EngineConfig(attention_backend="xla", page_size=32)
    decoder = read_model_config(TINY_LLAMA, "a test")[1]
    float32 = jnp.dtype("float32")
    loaded = Loaded(
        folder=Path(),
        model=LoadedModel(config=decoder, graphdef=None, treedef=jax.tree.structure(()), params=()),
        mesh=make_mesh(tensor_parallel=2),
        dtype=float32,
        kv_dtype=float32,
    )
    log = io.StringIO()
    chosen = build_runner.choose_attention(config, loaded, log)
    assert chosen.backend.name == "xla"
    assert "other differs from xla; xla takes its place" in caplog.text
    assert "attention xla: other differs from xla" in log.getvalue()
