"""In which order does the model meet texts of which kind?

Endless and reproducible from a seed. Runs without jax.
"""

import itertools
import random
from collections.abc import Iterator

from . import later
from .conversations import (
    Segments,
    document,
    long_conversation,
    repetition,
    short_conversation,
    tool_conversation,
)
from .render import TEXT_END, segments


def short_texts(seed: int, repeated: float = 0.0, late: float = 0.0) -> Iterator[Segments]:
    """Yield what fits a short row: mostly single questions, some documents.

    `repeated` is the share of texts that only repeat words, `late` that of late wordings.
    """
    rng = random.Random(f"short {seed}")
    while True:
        kind = rng.random()
        if kind < 0.05:
            yield [(document(rng) + TEXT_END, True)]
        elif kind < 0.05 + repeated:
            yield repetition(rng)
        elif kind < 0.05 + repeated + late:
            yield segments(later.short_turns(rng))
        else:
            yield segments(short_conversation(rng))


def long_texts(seed: int, num_questions: int, late: float = 0.0) -> Iterator[Segments]:
    """Yield conversations with tools and chats of many turns."""
    rng = random.Random(f"long {seed} {num_questions}")
    for count in itertools.count():
        if count % 4 < 3 and num_questions < 20 and late and rng.random() < late:
            yield segments(*later.tool_turns(rng))
        elif count % 4 < 3 and num_questions < 20:
            yield segments(*tool_conversation(rng))
        else:
            yield segments(long_conversation(rng, rng.randrange(num_questions // 3, num_questions)))


def sample_text(seed: int, count: int) -> list[str]:
    """Draw text of every kind, to train the tokenizer on."""
    short, long = short_texts(seed), long_texts(seed, 6)
    drawn = [next(short) for _ in range(count)] + [next(long) for _ in range(count // 8)]
    return ["".join(text for text, _ in pieces) for pieces in drawn]
