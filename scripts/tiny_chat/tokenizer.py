"""How does text become token ids, and what files say so?

A SentencePiece BPE with byte fallback, identity normalisation, single digits, and the marks of the
chat format as whole tokens. `tokenizer_config.json` describes the same thing to `transformers`.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece

from .render import CHAT_TEMPLATE, END, START, TEXT_END, TOOL_MARKS

VOCAB_SIZE = 3072
UNKNOWN_ID, TEXT_END_ID, END_ID, START_ID = range(4)


def train_tokenizer(texts: Iterable[str], path: Path) -> sentencepiece.SentencePieceProcessor:
    """Train on whole conversations and write `tokenizer.model`; the result depends only on them."""
    model = io.BytesIO()
    lines = (line for text in texts for line in text.split("\n") if line)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=1.0,
        user_defined_symbols=[TEXT_END, END, START, *TOOL_MARKS, "\n"],
        unk_id=UNKNOWN_ID,
        bos_id=TEXT_END_ID,
        bos_piece=TEXT_END,
        eos_id=END_ID,
        eos_piece=END,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _added(token: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": token} | flags | {"special": special}


def tokenizer_config(context_length: int) -> dict[str, Any]:
    whole = ["<unk>", TEXT_END, END, START, *TOOL_MARKS, "\n"]
    return {
        "added_tokens_decoder": {
            str(place): _added(token, special=place <= START_ID)
            for place, token in enumerate(whole)
        },
        "tokenizer_class": "LlamaTokenizer",
        "model_max_length": context_length,
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": TEXT_END,
        "eos_token": END,
        "pad_token": TEXT_END,
        "unk_token": "<unk>",
        "additional_special_tokens": [START],
        "chat_template": CHAT_TEMPLATE,
    }


def write_tokenizer_config(folder: Path, context_length: int) -> None:
    text = json.dumps(tokenizer_config(context_length), indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
