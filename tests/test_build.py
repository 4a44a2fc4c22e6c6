"""An engine is built of a config alone, and answers."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Sequence
from pathlib import Path

from jaxserve.build import build_engine
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.metrics import AttentionInUse
from jaxserve.engine.request import Request, SamplingParams, TokenDelta
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
