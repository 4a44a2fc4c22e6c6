"""Tokenizer folders of every kind we serve, made on the spot from a few sentences."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SENTENCES = [
    "hello world, this is a small test of words and the world",
    "the capital of France is Paris and the capital of Japan is 東京",
    "def main():\n    return {'a': 1}\n",
    "ภาษาไทย สวัสดี",
    "日本語の文章 と 中文",
    "café naïve 👍🏽 👨‍👩‍👧",
]
TURNS = ["<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def byte_level(folder: Path) -> Path:
    """Like GPT-2, Llama 3 and Qwen: byte-level BPE in tokenizer.json, BOS from a post-processor."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>", *TURNS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
    )
    tokenizer.add_tokens(["<tool call>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", _config("PreTrainedTokenizerFast"))
    return folder


def sentencepiece_model(folder: Path, *, prefix_space: bool = True) -> Path:
    """Like Llama 2 and ours: a SentencePiece model with byte fallback, tokenizer.model only."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix_space,
        user_defined_symbols=TURNS,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    config = _config("LlamaTokenizer") | {"add_bos_token": True, "add_prefix_space": prefix_space}
    write_json(folder / "tokenizer_config.json", config)
    return folder


def sentencepiece_without_prefix(folder: Path) -> Path:
    """The same without a space before the first word, as in a chat model's middle of text."""
    return sentencepiece_model(folder, prefix_space=False)


def sentencepiece_as_json(folder: Path) -> Path:
    """The same again, as `transformers` saves it: tokenizer.json and no tokenizer.model."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(sentencepiece_model(folder))).save_pretrained(str(folder))
    (folder / "tokenizer.model").unlink()
    return folder


def word_pieces(folder: Path) -> Path:
    """A kind whose bytes only decoding tells."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", _config("PreTrainedTokenizerFast"))
    return folder


def _config(tokenizer_class: str) -> dict[str, Any]:
    return {
        "tokenizer_class": tokenizer_class,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>" if tokenizer_class == "LlamaTokenizer" else None,
        "chat_template": CHAT_TEMPLATE,
    }


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "byte_level": byte_level,
    "sentencepiece": sentencepiece_model,
    "sentencepiece_without_prefix": sentencepiece_without_prefix,
    "sentencepiece_as_json": sentencepiece_as_json,
}
