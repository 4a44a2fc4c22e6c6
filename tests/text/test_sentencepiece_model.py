"""A tokenizer.model by itself gives the ids that SentencePiece gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.text.tokenizer import load_tokenizer
from tests.text.model_folders import SENTENCES, sentencepiece_model, write_json
from tests.text.test_detokenizer import TEXTS


def alone(folder: Path, *, prefix_space: bool) -> Path:
    (sentencepiece_model(folder, prefix_space=prefix_space) / "tokenizer_config.json").unlink()
    return folder


@pytest.mark.parametrize("prefix_space", [True, False])
@pytest.mark.parametrize("model_type", [None, "llama", "gemma"])
def test_ids_are_those_of_sentencepiece(
    tmp_path: Path, prefix_space: bool, model_type: str | None
) -> None:
    alone(tmp_path, prefix_space=prefix_space)
    if model_type:
        write_json(tmp_path / "config.json", {"model_type": model_type})
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = load_tokenizer(tmp_path)
    for text in [*TEXTS, *SENTENCES, "<|im_start|>user", " a  b", "x\n\ny"]:
        ids = model.encode(text)
        if prefix_space and text.startswith(" "):  # no other space is put before it
            ids = model.encode(text[1:])
        if prefix_space and text.startswith("<|im"):  # nor before a token of its own
            ids = ids[1:]
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.encode(text, add_special_tokens=True) == [model.bos_id(), *ids], text
    assert tokenizer.eos_ids == {model.eos_id()}
    assert tokenizer.vocab_size == model.get_piece_size()


def test_what_is_no_sentencepiece_model_is_named(tmp_path: Path) -> None:
    for content in (b"IQ== 0\nIg== 1\n", b""):  # Llama 3's first release: base64 and ranks
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is no SentencePiece model .* tokenizer.json"):
            load_tokenizer(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=70,
        model_type="unigram",
        minloglevel=2,
    )
    with pytest.raises(UnsupportedModel, match="not of type BPE"):
        load_tokenizer(tmp_path)
