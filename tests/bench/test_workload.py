"""A workload is the same for the same seed, and has the prefixes and turns that were asked for."""

from __future__ import annotations

import random
from dataclasses import replace

from jaxserve.bench.lengths import Lengths
from jaxserve.bench.prompts import Recorded
from jaxserve.bench.words import COMMON, Words
from jaxserve.bench.workload import Conversation, Shape, conversations

WORDS = Words(COMMON, tokens_per_word=2.0, tokens_around=10.0)
SHAPE = Shape(
    input_len=Lengths.parse("110"),
    output_len=Lengths.parse("uniform:5:9"),
    turns=1,
    prefix_tokens=0,
    num_prefixes=0,
)


def make(
    shape: Shape, count: int = 6, *, recorded: list[tuple[Recorded, ...]] | None = None
) -> list[Conversation]:
    source = random.Random(3)
    return conversations(shape, count, words=WORDS, recorded=recorded or [], source=source)


def test_the_same_seed_gives_the_same_conversations_and_no_two_alike() -> None:
    made = make(SHAPE)
    assert made == make(SHAPE)
    assert len({turns[0].text for turns in made}) == len(made)


def test_a_prompt_has_the_words_that_make_its_tokens() -> None:
    assert {len(turns[0].text.split()) for turns in make(SHAPE)} == {50}
    assert {turns[0].max_tokens for turns in make(SHAPE, 60)} == {5, 6, 7, 8, 9}


def test_prefixes_are_shared_in_turn() -> None:
    made = make(replace(SHAPE, prefix_tokens=40, num_prefixes=2), 4)
    heads = [" ".join(turns[0].text.split()[:20]) for turns in made]
    assert heads[0] == heads[2] != heads[1] == heads[3]
    assert len({turns[0].text for turns in made}) == 4


def test_a_conversation_has_its_turns() -> None:
    assert {len(turns) for turns in make(replace(SHAPE, turns=3))} == {3}


def test_recorded_prompts_are_asked_in_order_and_again() -> None:
    recorded = [(Recorded("one", "a b c"), Recorded("more")), (Recorded("two", None, 4),)]
    shape = replace(SHAPE, output_len=None)
    made = make(shape, 3, recorded=recorded)
    assert [turns[0].text for turns in made] == ["one", "two", "one"]
    assert [turns[0].max_tokens for turns in made] == [6, 4, 6]
    assert [len(turns) for turns in make(replace(shape, turns=2), 2, recorded=recorded)] == [2, 1]
