"""What becomes of the numbers that a model gave: cut vectors, similarities, scores, probabilities.

Small arithmetic on the host, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from jaxserve.errors import InvalidRequest
from jaxserve.text.sentence_folder import SentenceFacts, Similarity

_LEAST_LENGTH = 1e-12  # a vector of zeros stays one


def normalized(vector: np.ndarray) -> np.ndarray:
    """`vector` at unit length."""
    length: np.ndarray = vector / max(float(np.linalg.norm(vector)), _LEAST_LENGTH)
    return length.astype(np.float32)


def shortened(vector: np.ndarray, num_dimensions: int | None) -> np.ndarray:
    """Its first numbers at unit length (Matryoshka, arXiv:2205.13147), or, None, as it is."""
    if num_dimensions is None or num_dimensions == len(vector):
        return vector
    return normalized(vector[:num_dimensions])


def check_dimensions(num_dimensions: int | None, size: int, facts: SentenceFacts) -> None:
    """Raise InvalidRequest unless vectors of `size` may be cut to so many numbers."""
    if num_dimensions is None or num_dimensions == size:
        return
    if facts.vector_sizes:
        allowed, told = num_dimensions in facts.vector_sizes, _listed(facts.vector_sizes)
    else:
        allowed, told = facts.any_size and num_dimensions < size, f"1 to {size}"
    if allowed:
        return
    if not facts.any_size and not facts.vector_sizes:
        told = (
            f"{size}: this model does not say that its vectors may be cut (matryoshka_dimensions "
            "or is_matryoshka in its config.json)"
        )
    raise InvalidRequest(f"dimensions is {num_dimensions}; it can be {told}", param="dimensions")


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))


def similarity(one: np.ndarray, other: np.ndarray, kind: Similarity) -> float:
    """How alike two vectors are; distances come negative, so that more is closer."""
    return float(_SIMILARITIES[kind](one, other))


def score(logit: float, facts: SentenceFacts) -> float:
    """What a classifier with one label says; without word on it a number between 0 and 1."""
    return logit if facts.score_activation == "identity" else sigmoid(logit)


def probabilities(logits: np.ndarray, facts: SentenceFacts) -> np.ndarray:
    """f32[labels]; of a regression the numbers themselves."""
    if facts.is_regression:
        return logits
    if facts.is_multi_label or len(logits) == 1:
        return np.asarray([sigmoid(float(logit)) for logit in logits], np.float32)
    grown = np.exp(logits - logits.max())
    shares: np.ndarray = grown / grown.sum()
    return shares


def sigmoid(x: float) -> float:
    return float(0.5 * (1 + np.tanh(0.5 * x)))  # never overflows


_SIMILARITIES: Mapping[Similarity, Callable[[np.ndarray, np.ndarray], np.floating]] = {
    "cosine": lambda a, b: normalized(a) @ normalized(b),
    "dot": lambda a, b: a @ b,
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
    "manhattan": lambda a, b: -np.abs(a - b).sum(),
}
