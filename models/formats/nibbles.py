"""How are whole numbers packed into the int32 of a checkpoint?

Several to a word, the first in its lowest bits. Which numbers those are, and in what order, is a
format's business.
"""

from __future__ import annotations

import numpy as np

WORD_BITS = 32


def unpacked(words: np.ndarray, num_bits: int) -> np.ndarray:
    """u8[..., n * 32 / num_bits] of words [..., n]."""
    shifts = np.arange(0, WORD_BITS, num_bits, dtype=np.uint32)
    wide = np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts
    numbers = (wide & np.uint32(2**num_bits - 1)).astype(np.uint8)
    return numbers.reshape(*words.shape[:-1], -1)


def words_of(start: int, stop: int, num_bits: int) -> slice:
    """The words that numbers [start, stop) are in."""
    per_word = WORD_BITS // num_bits
    return slice(start // per_word, -(-stop // per_word))
