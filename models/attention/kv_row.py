"""What does a layer keep of every token?

One row of its pages, in numbers; how rows become pages is an attention backend's business. Knows
neither models nor arrays.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KVRow:
    """A key and a value for each KV head, or keys alone that hold the values."""

    num_heads: int
    head_dim: int  # numbers in a key, and in a value that is kept apart
    value_dim: int | None = None  # a value is the first so many numbers of its key; None: apart

    @property
    def num_parts(self) -> int:
        """How many vectors of `head_dim` are kept per head."""
        return 2 if self.value_dim is None else 1
