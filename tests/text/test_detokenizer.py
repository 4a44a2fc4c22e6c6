"""Incremental text equals the text of all tokens at once, and never holds half a character."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.tokenizer import FolderTokenizer, Tokenizer

TEXTS = [
    "hello world, this is Paris",
    "  two spaces first\n\n\tand a tab ",
    "thumbs 👍🏽 family 👨‍👩‍👧 flag 🇯🇵",
    "漢字かな交じり文 和 中文 𠮷野家",
    "ภาษาไทยไม่เว้นวรรค",
    "café é naïve e\u0301",
    "<|im_start|>user\nhi<|im_end|>\n",
    "\x00\x7f control",
]


def pieces(tokenizer: Tokenizer, ids: Sequence[int], *, skip: bool = True) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
    return [*(detokenizer.push(i) for i in ids), detokenizer.flush()]


def hub_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_one_token_at_a_time(tokenizer: FolderTokenizer, text: str) -> None:
    # In the middle of a text, as an output is: "x" takes the space that some prepend.
    ids = tokenizer.encode("x" + text, add_special_tokens=False)
    out = pieces(tokenizer, ids, skip=False)
    expected = normalize("NFC", text)  # as the byte-level one does before it encodes
    assert normalize("NFC", "".join(out)).lstrip(" ") == "x" + expected
    assert all("\ufffd" not in piece for piece in out)


def test_random_ids_give_the_text_of_their_joined_bytes(tokenizer: FolderTokenizer) -> None:
    draw = random.Random(7)
    for _ in range(200):
        ids = [draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(1, 40))]
        joined = b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "replace")
        assert "".join(pieces(tokenizer, ids, skip=False)) == joined


def test_random_ids_read_as_transformers_reads_them(
    folder: Path, tokenizer: FolderTokenizer
) -> None:
    hub, draw = hub_tokenizer(folder), random.Random(11)
    compared = 0
    for _ in range(400):
        ids = [draw.randrange(tokenizer.vocab_size) for _ in range(draw.randrange(1, 8))]
        text = "".join(pieces(tokenizer, ids))
        if "\ufffd" in text:
            continue  # how many marks stand for broken bytes is a matter of taste
        compared += 1
        expected = hub.decode(ids, skip_special_tokens=True)
        assert text in (expected, " " + expected), "all but a first space must agree"
    assert compared > 50


def test_a_first_token_with_a_space_keeps_it(folder: Path, tokenizer: FolderTokenizer) -> None:
    ids = tokenizer.encode("the world", add_special_tokens=False)[-1:]
    assert "".join(pieces(tokenizer, ids)) == " world"


def test_special_tokens_are_skipped_or_spelled(tokenizer: FolderTokenizer) -> None:
    assert tokenizer.bos_id is not None
    world = tokenizer.encode("the world", add_special_tokens=False)[-1]
    assert "".join(pieces(tokenizer, [tokenizer.bos_id, world])) == " world"
    assert "".join(pieces(tokenizer, [tokenizer.bos_id, world], skip=False)) == "<s> world"


def test_a_special_token_inside_a_character_does_not_break_it(tokenizer: FolderTokenizer) -> None:
    assert tokenizer.bos_id is not None
    ids = [_byte(tokenizer, byte) for byte in "é".encode()]
    assert pieces(tokenizer, [ids[0], tokenizer.bos_id, ids[1]]) == ["", "", "é", ""]


def test_a_character_that_is_never_completed_is_replaced_once(tokenizer: FolderTokenizer) -> None:
    ids = [_byte(tokenizer, byte) for byte in "👍".encode()[:3]]
    assert pieces(tokenizer, ids) == ["", "", "", "\ufffd"]


def test_ids_outside_the_vocabulary_have_no_text(tokenizer: FolderTokenizer) -> None:
    assert pieces(tokenizer, [tokenizer.vocab_size, 2**31, -1]) == ["", "", "", ""]


def _byte(tokenizer: FolderTokenizer, byte: int) -> int:
    return next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == bytes([byte]))
