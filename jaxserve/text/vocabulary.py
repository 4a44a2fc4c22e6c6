"""Which bytes does each token id stand for?

The bytes come from the vocabulary itself, not from decoding, so they are true for tokens that
hold half a character. How a token is spelled in the vocabulary is told by the tokenizer's own
decoder: byte-level (GPT-2's printable stand-ins for bytes) or SentencePiece (U+2581 for a space,
`<0xNN>` for a byte). Any other kind is decoded token by token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_SPACE = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes_table(tokenizer: Any) -> list[bytes]:
    """Bytes of every id of a `transformers` tokenizer, by id; a hole in the vocabulary has none."""
    vocab_size = max(tokenizer.get_vocab().values()) + 1
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(vocab_size)))
    added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
    decoders = list(_decoder_parts(tokenizer))
    kinds = {part["type"] for part in decoders}
    if "ByteLevel" in kinds:
        return [_byte_level(token, added.get(i)) for i, token in enumerate(tokens)]
    if "Metaspace" in kinds or any(map(_writes_spaces, decoders)):
        has_bytes = "ByteFallback" in kinds
        return [_sentencepiece(added.get(i, token), has_bytes) for i, token in enumerate(tokens)]
    return [_decoded(tokenizer, i) if token else b"" for i, token in enumerate(tokens)]


def _decoder_parts(tokenizer: Any) -> Iterator[dict[str, Any]]:
    """The steps of the tokenizer's decoder, as tokenizer.json spells them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # A tokenizer without the fast backend wraps a SentencePiece model, or is of its own kind.
        if hasattr(tokenizer, "sp_model"):
            yield {"type": "Metaspace"}
            yield {"type": "ByteFallback"}
    elif backend.decoder is not None:
        spec = json.loads(backend.decoder.__getstate__())
        yield from spec["decoders"] if spec["type"] == "Sequence" else [spec]


def _writes_spaces(part: dict[str, Any]) -> bool:
    return {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "} == part


def _byte_level(token: str | None, added: str | None) -> bytes:
    if added is not None:
        return added.encode()
    if token is None:
        return b""
    if all(char in _BYTE_OF for char in token):
        return bytes(_BYTE_OF[char] for char in token)
    return token.encode()  # not spelled in stand-ins, so it stands for itself


def _sentencepiece(token: str | None, has_bytes: bool) -> bytes:
    if token is None:
        return b""
    if has_bytes and (byte := _BYTE_TOKEN.fullmatch(token)):
        return bytes([int(byte[1], 16)])
    return token.replace(_SPACE, " ").encode()


def _decoded(tokenizer: Any, token_id: int) -> bytes:
    # Next to another token, since some decoders treat the first one of a text differently.
    anchor: str = tokenizer.decode([token_id])
    both: str = tokenizer.decode([token_id, token_id])
    return both.removeprefix(anchor).encode()


def _stand_ins() -> dict[str, int]:
    """GPT-2's characters for bytes: printable Latin-1 stands for itself, the rest follow U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return table | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _stand_ins()
