"""How many held-out questions does the model answer exactly?"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece

from .held_out import Case
from .model import Params, Shape, greedy
from .render import render
from .tokenizer import END_ID, TEXT_END_ID

ROWS = 32
MAX_NEW = 128
BUCKETS = (64, 128, 256, 512, 1024)


@dataclasses.dataclass(frozen=True, slots=True)
class Accuracy:
    """Right answers and questions, per category."""

    counts: Mapping[str, tuple[int, int]]

    @property
    def overall(self) -> float:
        right, asked = (sum(column) for column in zip(*self.counts.values(), strict=True))
        return right / asked

    def lines(self) -> list[str]:
        return [f"{name}: {right}/{asked}" for name, (right, asked) in self.counts.items()]


def encode_prompt(tokenizer: sentencepiece.SentencePieceProcessor, case: Case) -> list[int]:
    return tokenizer.encode(render(case.messages, case.tools, add_generation_prompt=True))


@functools.partial(jax.jit, static_argnames="shape")
def _decode(params: Params, prompts: jax.Array, lengths: jax.Array, shape: Shape) -> jax.Array:
    stops = (END_ID, TEXT_END_ID)
    return greedy(params, prompts, lengths, shape, max_new=MAX_NEW, stop_ids=stops)


def answers(
    params: Params,
    shape: Shape,
    tokenizer: sentencepiece.SentencePieceProcessor,
    prompts: Sequence[Sequence[int]],
) -> list[str]:
    """Decode greedily; rows of similar prompt length go together, in few compiled sizes."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    replies = [""] * len(prompts)
    for first in range(0, len(order), ROWS):
        places = order[first : first + ROWS]
        longest = max(len(prompts[place]) for place in places)
        bucket = next(size for size in BUCKETS if size >= longest)
        rows, lengths = np.zeros((ROWS, bucket), np.int32), np.ones(ROWS, np.int32)
        for row, place in enumerate(places):
            lengths[row] = len(prompts[place])
            rows[row, : lengths[row]] = prompts[place]
        out = np.asarray(_decode(params, jnp.asarray(rows), jnp.asarray(lengths), shape))
        for row, place in enumerate(places):
            ids = out[row].tolist()
            stop = next(
                (at for at, token in enumerate(ids) if token in (END_ID, TEXT_END_ID)), None
            )
            replies[place] = tokenizer.decode(ids[:stop])
    return replies


def evaluate(
    params: Params,
    shape: Shape,
    tokenizer: sentencepiece.SentencePieceProcessor,
    cases: Sequence[Case],
    num_shown: int = 0,
) -> Accuracy:
    """Count exact answers; prints the first `num_shown` wrong ones."""
    replies = answers(params, shape, tokenizer, [encode_prompt(tokenizer, c) for c in cases])
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for case, reply in zip(cases, replies, strict=True):
        right = case.passes(reply)
        counts[case.category][0] += right
        counts[case.category][1] += 1
        if not right and num_shown > 0:
            num_shown -= 1
            said = case.messages[-1].get("content")
            print(
                f"  wrong ({case.category}): {said!r} -> {reply!r}, not {case.expected!r}",
                flush=True,
            )
    return Accuracy({name: (right, asked) for name, (right, asked) in counts.items()})
