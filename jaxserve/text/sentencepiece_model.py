"""How is a `tokenizer.model` read that no other file says anything about?

transformers guesses then, and leaves out both the space before the first word and the beginning of
sequence. The SentencePiece model itself says which it was trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxserve.errors import CheckpointError, UnsupportedModel

FILE = "tokenizer.model"
_BPE = 2  # TrainerSpec.ModelType


def stands_alone(folder: Path) -> bool:
    """Whether `folder` has a tokenizer.model and nothing that describes it."""
    described = any((folder / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json"))
    return (folder / FILE).is_file() and not described


def load_alone(folder: Path) -> Any:
    """A fast `transformers` tokenizer that gives the ids of the model in `folder`.

    It begins texts with the beginning of sequence, where there is one, as Llama, Mistral and Gemma
    do. A text that begins with a space or with a token of its own gets no other space before it,
    as in `transformers`. Raises CheckpointError.
    """
    from transformers import LlamaTokenizer

    model = _read(folder / FILE)
    if model.trainer_spec.model_type != _BPE:
        raise UnsupportedModel(
            f"{folder / FILE} is a SentencePiece model that is not of type BPE; it is read with a "
            "tokenizer.json beside it"
        )
    special = {
        name: model.pieces[token_id].piece
        for name, token_id in {
            "bos_token": model.trainer_spec.bos_id,
            "eos_token": model.trainer_spec.eos_id,
            "unk_token": model.trainer_spec.unk_id,
        }.items()
        if 0 <= token_id < len(model.pieces)
    }
    return LlamaTokenizer.from_pretrained(
        str(folder),
        local_files_only=True,
        add_prefix_space=model.normalizer_spec.add_dummy_prefix,
        add_bos_token="bos_token" in special,
        **special,
    )


def _read(file: Path) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError:
        model.Clear()
    if not model.pieces:
        raise CheckpointError(
            f"{file} is no SentencePiece model (or is cut short); download tokenizer.json, which "
            "every release since Llama 3 has"
        )
    return model
