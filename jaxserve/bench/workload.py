"""What is asked in a run? Conversations, drawn from a seed: the same for every server that is
measured with it and costs words alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jaxserve.bench.lengths import Lengths
from jaxserve.bench.prompts import Recorded
from jaxserve.bench.words import Words


@dataclass(frozen=True, slots=True)
class Turn:
    """What a user says, and how long the answer shall be."""

    text: str
    max_tokens: int


Conversation = tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What conversations look like. Lengths are tokens; `prefix_tokens` come before the first
    turn, one of `num_prefixes` texts. `output_len` None: as recorded in the file."""

    input_len: Lengths
    output_len: Lengths | None
    turns: int
    prefix_tokens: int
    num_prefixes: int


def conversations(
    shape: Shape,
    count: int,
    *,
    words: Words,
    recorded: Sequence[tuple[Recorded, ...]],
    source: random.Random,
) -> list[Conversation]:
    """So many conversations, of words or, where there are any, of recorded prompts in their
    order, again from the first when there are too few."""
    prefixes = [words.text(shape.prefix_tokens, source) for _ in range(shape.num_prefixes)]
    made = []
    for index in range(count):
        if recorded:
            turns = _replayed(shape, recorded[index % len(recorded)], words, source)
        else:
            turns = _invented(shape, words, source)
        made.append(_prefixed(turns, prefixes[index % len(prefixes)] if prefixes else ""))
    return made


def _invented(shape: Shape, words: Words, source: random.Random) -> Conversation:
    assert shape.output_len is not None, "invented answers have no recorded lengths"
    turns = []
    for _ in range(shape.turns):
        text = words.prompt(shape.input_len.draw(source), source)
        turns.append(Turn(text, shape.output_len.draw(source)))
    return tuple(turns)


def _replayed(
    shape: Shape, recorded: Sequence[Recorded], words: Words, source: random.Random
) -> Conversation:
    return tuple(
        Turn(turn.text, _output_tokens(shape, turn, words, source))
        for turn in recorded[: shape.turns]
    )


def _output_tokens(shape: Shape, turn: Recorded, words: Words, source: random.Random) -> int:
    if shape.output_len is not None:
        return shape.output_len.draw(source)
    if turn.output_tokens is not None:
        return turn.output_tokens
    return words.tokens_of(turn.answer) if turn.answer else DEFAULT_OUTPUT


def _prefixed(turns: Conversation, prefix: str) -> Conversation:
    if not prefix or not turns:
        return turns
    return (Turn(f"{prefix} {turns[0].text}", turns[0].max_tokens), *turns[1:])


DEFAULT_OUTPUT = 128  # tokens of an answer where neither the file nor the user says
