"""How do conversations fill rows of fixed length?

Packs several into one row; a token attends only within its own conversation, and only the learned
tokens (what the assistant says) are targets. Plain NumPy.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import sentencepiece

from .conversations import Segments

Encoded = tuple[list[int], list[bool]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of packed conversations.

    `targets` are places in the flattened rows whose next token is learned, padded with weight 0.
    """

    ids: np.ndarray  # i32[B, T]
    positions: np.ndarray  # i32[B, T], restarting with each conversation
    owners: np.ndarray  # i32[B, T], which conversation of the row; -1 where padded
    targets: np.ndarray  # i32[M]
    labels: np.ndarray  # i32[M]
    weights: np.ndarray  # f32[M]


def encode(tokenizer: sentencepiece.SentencePieceProcessor, pieces: Segments) -> Encoded:
    """Encode segment by segment; every boundary touches a mark, so no token crosses one."""
    ids, learned = [], []
    for text, flag in pieces:
        part = tokenizer.encode(text)
        ids += part
        learned += [flag] * len(part)
    return ids, learned


@dataclasses.dataclass(slots=True)
class Packer:
    """Fills rows first-fit; what does not fit waits for the next batch."""

    source: Iterator[Encoded]
    num_rows: int
    length: int
    waiting: list[Encoded] = dataclasses.field(default_factory=list)

    def next(self) -> Batch:
        rows: list[list[Encoded]] = [[] for _ in range(self.num_rows)]
        room = [self.length] * self.num_rows
        refused: list[Encoded] = []
        while len(refused) < 4 + self.num_rows // 4:
            one = self.waiting.pop() if self.waiting else next(self.source)
            size = len(one[0])
            if size > self.length:
                continue
            row = next((r for r in range(self.num_rows) if room[r] >= size), None)
            if row is None:
                refused.append(one)
            else:
                rows[row].append(one)
                room[row] -= size
        self.waiting = refused[::-1]
        return _batch(rows, self.length)


def _batch(rows: list[list[Encoded]], length: int) -> Batch:
    shape = (len(rows), length)
    ids, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    owners, learned = np.full(shape, -1, np.int32), np.zeros(shape, bool)
    for row, packed in enumerate(rows):
        at = 0
        for owner, (tokens, flags) in enumerate(packed):
            span = slice(at, at + len(tokens))
            ids[row, span], owners[row, span] = tokens, owner
            positions[row, span], learned[row, span] = np.arange(len(tokens)), flags
            learned[row, at] = False
            at += len(tokens)
    return _with_targets(ids, positions, owners, learned)


def _with_targets(
    ids: np.ndarray, positions: np.ndarray, owners: np.ndarray, learned: np.ndarray
) -> Batch:
    """Keep at most half of the places as targets; more than that has not been seen."""
    limit = ids.size // 2
    places = np.flatnonzero(learned)[:limit]
    padded = np.zeros(limit, np.int32)
    padded[: len(places)] = places
    weights = (np.arange(limit) < len(places)).astype(np.float32)
    labels = ids.reshape(-1)[padded]
    return Batch(ids=ids, positions=positions, owners=owners,
                 targets=np.maximum(padded - 1, 0), labels=labels, weights=weights)  # fmt: skip
