"""In which padded sizes do batches of texts run?

A bucket is so many rows of so many tokens. Lengths double, rows go up by fours, and rows times
length never passes the token budget but where a single text does. Plain integers.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

SHORTEST = 16  # tokens; most queries are shorter than twice that
LENGTH_FACTOR = 2
ROW_FACTOR = 4
WHOLE_BLOCK = 512  # longer rows are a multiple of it, for attention goes by blocks


@dataclass(frozen=True, slots=True)
class Bucket:
    """A padded batch."""

    num_rows: int
    length: int

    def __str__(self) -> str:
        return f"{self.num_rows}x{self.length}"


@dataclass(frozen=True, slots=True)
class Buckets:
    """All buckets, by length, then by rows."""

    all: tuple[Bucket, ...]

    @classmethod
    def build(cls, *, max_rows: int, max_model_len: int, token_budget: int) -> Buckets:
        return cls(
            tuple(
                Bucket(rows, length)
                for length in _lengths(max_model_len)
                for rows in _rows(min(max_rows, token_budget // length))
            )
        )

    def length_for(self, num_tokens: int) -> int:
        """The length of the rows that a text of so many tokens is padded to."""
        return self.all[bisect_left(self.all, num_tokens, key=lambda b: b.length)].length

    def most_rows(self, length: int) -> int:
        return max(bucket.num_rows for bucket in self.all if bucket.length == length)

    def smallest(self, num_rows: int, num_tokens: int) -> Bucket:
        """The bucket for so many texts, of which the longest has `num_tokens`."""
        length = self.length_for(num_tokens)
        return next(b for b in self.all if b.length == length and b.num_rows >= num_rows)


def _lengths(max_model_len: int) -> list[int]:
    lengths = [SHORTEST]
    while lengths[-1] < max_model_len:
        lengths.append(lengths[-1] * LENGTH_FACTOR)
    longest = -(-max_model_len // WHOLE_BLOCK) * WHOLE_BLOCK
    return [*lengths[:-1], min(lengths[-1], longest)]


def _rows(most: int) -> list[int]:
    rows = [1]
    while rows[-1] < most:
        rows.append(min(rows[-1] * ROW_FACTOR, most))
    return rows
