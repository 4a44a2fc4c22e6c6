import asyncio

import pytest

from jaxserve.text.sequences import Cut, Sequence, SequenceEncoder, Side
from tests.pooled_fakes import tokenizer

A, B, C, D = 4, 5, 6, 7


@pytest.fixture(scope="module")
def encoder() -> SequenceEncoder:
    return SequenceEncoder(tokenizer())


def test_a_text_has_its_special_tokens(encoder: SequenceEncoder) -> None:
    assert asyncio.run(encoder.encode("a b")) == Sequence((0, A, B, 1))
    assert asyncio.run(encoder.encode("a b", add_special_tokens=False)) == Sequence((A, B))


def test_the_second_text_of_a_pair_has_types(encoder: SequenceEncoder) -> None:
    pair = asyncio.run(encoder.encode_pair("a b", "c"))
    assert pair == Sequence((0, A, B, 1, C, 1), (0, 0, 0, 0, 1, 1))


@pytest.mark.parametrize(("side", "kept"), [("right", (A, B)), ("left", (C, D))])
def test_a_cut_keeps_the_special_tokens(
    encoder: SequenceEncoder, side: Side, kept: tuple[int, ...]
) -> None:
    cut = Cut(max_tokens=4, side=side)
    assert asyncio.run(encoder.encode("a b c d", cut=cut)).token_ids == (0, *kept, 1)
    bare = asyncio.run(
        encoder.encode("a b c d", cut=Cut(max_tokens=2, side=side), add_special_tokens=False)
    )
    assert bare.token_ids == kept


@pytest.mark.parametrize(
    ("first", "second", "max_tokens", "kept"),
    [
        ("a b c d", "c", 7, ((A, B, C), (C,))),
        ("a", "a b c d", 7, ((A,), (A, B, C))),
        ("a b c d", "a b c d", 8, ((A, B), (A, B, C))),
        ("a b c d", "a b c", 8, ((A, B, C), (A, B))),
        ("a b", "c d", 7, ((A, B), (C, D))),
        ("a b", "c d", 2, ((), ())),
    ],
)
def test_a_pair_is_cut_where_it_is_longer(
    encoder: SequenceEncoder,
    first: str,
    second: str,
    max_tokens: int,
    kept: tuple[tuple[int, ...], ...],
) -> None:
    pair = asyncio.run(encoder.encode_pair(first, second, cut=Cut(max_tokens=max_tokens)))
    assert pair.token_ids == (0, *kept[0], 1, *kept[1], 1)
    assert pair.token_types.count(1) == len(kept[1]) + 1


def test_long_texts_are_encoded_beside_the_event_loop(encoder: SequenceEncoder) -> None:
    text = "a " * 3000
    assert len(asyncio.run(encoder.encode(text)).token_ids) == 3002


def test_text_is_lowered_where_the_folder_says_so() -> None:
    lowering = SequenceEncoder(tokenizer(), lowercase=True)
    assert asyncio.run(lowering.encode("A B")).token_ids == (0, A, B, 1)
