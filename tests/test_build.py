"""An engine is built of a config alone, and answers."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import pytest
from jax.sharding import Mesh

from jaxserve import build
from jaxserve.build import build_engine
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.metrics import AttentionInUse
from jaxserve.engine.request import Request, SamplingParams, TokenDelta
from jaxserve.models.attention.interface import Demands
from jaxserve.models.attention.registry import Chosen
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.families.registry import read_model_config
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import TINY_LLAMA


def test_random_weights_need_neither_weights_nor_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA))
    engine = EngineConfig(
        max_batch_size=1, token_budget=8, num_pages=4, compilation_cache=tmp_path / "compiled"
    )
    source = ModelSource(model=str(tmp_path), load_format="dummy")
    log = io.StringIO()
    built = build_engine(ServeConfig(source=source, engine=engine), log=log)
    assert "random weights" in log.getvalue()
    assert "attention xla\n" in log.getvalue()
    assert built.loop.metrics().attention == AttentionInUse("xla")
    assert built.tokenizer.has_chat_template  # that of the shipped model
    steps: queue.Queue[Sequence[TokenDelta]] = queue.Queue()
    built.loop.start(steps.put)
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    built.loop.submit(Request(id="a", prompt_ids=(1, 2, 3), params=params))
    drawn = [
        token for _ in range(3) for delta in steps.get(timeout=60) for token in delta.token_ids
    ]
    assert built.loop.stop(10.0)
    built.runner.close()
    assert len(drawn) == 3
    assert all(0 <= token < TINY_LLAMA["vocab_size"] for token in drawn)


def test_attention_that_is_wrong_here_is_replaced_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def replaced(asked: str, demands: Demands, mesh: Mesh) -> Chosen:
        assert (asked, demands.page_size, demands.tensor_parallel) == ("xla", 32, 2)
        return Chosen(XlaAttention(), "faulty", "other differs from xla")

    monkeypatch.setattr(build, "choose", replaced)
    config = EngineConfig(attention_backend="xla", page_size=32)
    model = read_model_config(TINY_LLAMA, "a test")[1]
    float32, mesh = jnp.dtype("float32"), make_mesh(tensor_parallel=2)
    chosen = build.choose_attention(config, model, mesh, dtype=float32, kv_dtype=float32)
    assert chosen.backend.name == "xla"
    assert "other differs from xla; xla takes its place" in caplog.text
