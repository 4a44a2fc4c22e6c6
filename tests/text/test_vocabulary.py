"""Token bytes of the kinds that need no folder to be told apart."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jaxserve.text.vocabulary import token_bytes_table


def table(tokens: list[str], decoder: Any, added: list[AddedToken] | None = None) -> list[bytes]:
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, tokens[0]))
    backend.decoder = decoder
    backend.add_tokens(added or [])
    return token_bytes_table(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_every_byte_has_its_byte_level_character() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(table(alphabet, decoders.ByteLevel())) == [bytes([i]) for i in range(256)]


def test_byte_level_spaces_newlines_and_half_characters() -> None:
    assert table(["Ġhi", "ĊĊ", "ðŁĳ"], decoders.ByteLevel()) == [b" hi", b"\n\n", b"\xf0\x9f\x91"]


def test_a_byte_level_decoder_is_found_inside_a_sequence() -> None:
    decoder = decoders.Sequence([decoders.Fuse(), decoders.ByteLevel()])
    assert table(["Ġhi"], decoder) == [b" hi"]


def test_added_tokens_are_not_spelled_in_stand_ins() -> None:
    added = [AddedToken("<Ġ é>", normalized=False)]
    assert table(["a"], decoders.ByteLevel(), added) == [b"a", "<Ġ é>".encode()]


def test_sentencepiece_spaces_and_bytes() -> None:
    decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    assert table(["▁a▁", "<0xE2>", "<0x0A>", "<0x>"], decoder) == [b" a ", b"\xe2", b"\n", b"<0x>"]


def test_without_byte_fallback_a_byte_token_is_its_spelling() -> None:
    assert table(["▁a", "<0x41>"], decoders.Metaspace()) == [b" a", b"<0x41>"]


def test_the_slow_sentencepiece_wrapper_is_read_too() -> None:
    class Slow:
        sp_model = object()
        added_tokens_decoder: dict[int, AddedToken] = {}  # noqa: RUF012

        def get_vocab(self) -> dict[str, int]:
            return {"▁a": 0, "<0xFF>": 1, "gap": 3}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
            names = {i: token for token, i in self.get_vocab().items()}
            return [names.get(i) for i in ids]

    assert token_bytes_table(Slow()) == [b" a", b"\xff", b"", b"gap"]
