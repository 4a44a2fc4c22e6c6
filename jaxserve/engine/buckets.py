"""Which padded sizes are there programs for, and which of them takes a step?

Plain integers. Few sizes, since each is a program to compile at start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxserve.engine.step import Step

_VERIFIED_TOKENS = 64  # of a step that verifies, where two for each row are not more


@dataclass(frozen=True, slots=True)
class Bucket:
    """A padded size there is a program for. One that `verifies` draws after each of its tokens;
    one that is `greedy` takes the likeliest token and does nothing else that a request may ask for.
    """

    num_tokens: int
    num_rows: int
    one_token_per_row: bool
    verifies: bool = False
    greedy: bool = False

    def __str__(self) -> str:
        if self.greedy:
            return f"greedy {self.num_rows}"
        if self.verifies:
            return f"verify {self.num_rows} {self.num_tokens}"
        return f"decode {self.num_rows}" if self.one_token_per_row else f"mixed {self.num_tokens}"

    @property
    def hands_states_out(self) -> bool:
        """Whether the hidden states of its tokens are kept, for prompts to be scored by."""
        return not self.one_token_per_row and not self.verifies


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes compiled for, each kind ascending: mixed by tokens, the others by rows."""

    decode: tuple[Bucket, ...]
    mixed: tuple[Bucket, ...]
    verify: tuple[Bucket, ...] = ()
    greedy: tuple[Bucket, ...] = ()

    @classmethod
    def build(
        cls,
        *,
        max_rows: int,
        token_budget: int,
        min_rows: int = 1,
        num_draft_tokens: int = 0,
        greedy_apart: bool = False,
    ) -> Buckets:
        """Decode buckets grow fourfold up to 16 rows, where a step costs about the same whatever
        their number, and twofold from there; mixed ones fourfold. `min_rows` is the smallest
        decode bucket: 2 where one row is slow (bfloat16 on a CPU).

        With `num_draft_tokens` there are two verify buckets for every decode bucket: one with room
        for the drafts of a single row, as the others often have none, and one for those of every
        row, though not for many tokens a row where there are many rows. With `greedy_apart` every
        decode bucket has a greedy twin.
        """
        rows = _sizes(min(min_rows, max_rows), max_rows, lambda n: 4 * n if n < 16 else 2 * n)
        tokens = _sizes(min(32, token_budget), token_budget, lambda n: 4 * n)
        decode = tuple(Bucket(n, n, True) for n in rows)
        return cls(
            decode=decode,
            greedy=tuple(replace(b, greedy=True) for b in decode) if greedy_apart else (),
            mixed=tuple(Bucket(n, max_rows, False) for n in tokens),
            verify=tuple(
                Bucket(num_tokens, n, False, verifies=True)
                for n in rows
                for num_tokens in _nums_verified(n, num_draft_tokens, token_budget)
            ),
        )

    @property
    def all(self) -> tuple[Bucket, ...]:
        return self.decode + self.mixed + self.verify + self.greedy

    def smallest(self, step: Step) -> Bucket:
        bucket = self.of_size(step)
        if self.greedy and bucket.one_token_per_row and step.is_greedy:
            return replace(bucket, greedy=True)
        return bucket

    def of_size(self, step: Step) -> Bucket:
        """The smallest that it fits in, whatever its rows ask for."""
        if step.verifies:
            fitting = self.verifying(len(step.rows))
            return next(b for b in fitting if b.num_tokens >= step.num_tokens)
        if step.decode_only and not step.scores_prompts:  # only mixed programs hand states out
            return self.decoding(len(step.rows))
        return next(b for b in self.mixed if b.num_tokens >= step.num_tokens)

    def decoding(self, num_rows: int) -> Bucket:
        """The bucket of so many rows that compute one token each."""
        return next(b for b in self.decode if b.num_rows >= num_rows)

    def verifying(self, num_rows: int) -> tuple[Bucket, ...]:
        """The buckets of so many rows of which some have drafts, by tokens; there may be none."""
        enough = [b for b in self.verify if b.num_rows >= num_rows]
        return tuple(b for b in enough if b.num_rows == enough[0].num_rows)


def _nums_verified(num_rows: int, num_draft_tokens: int, token_budget: int) -> list[int]:
    most = min(max(_VERIFIED_TOKENS, 2 * num_rows), token_budget)
    wanted = (num_rows + num_draft_tokens, num_rows * (1 + num_draft_tokens))
    return sorted({size for tokens in wanted if (size := min(tokens, most)) > num_rows})


def _sizes(first: int, last: int, grow: Callable[[int], int]) -> list[int]:
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(min(grow(sizes[-1]), last))
    return sizes
