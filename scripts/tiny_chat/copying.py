"""How does the untrained network already copy?

An induction head, set up by hand in the first two layers: where a token occurred before, attend to
what followed it, and predict that (Olsson et al., arXiv:2209.11895). Gradient descent finds this by
itself only after more text than a CPU reads in an hour: without it, three million tokens taught the
facts but not to repeat a name. Training changes these weights like all others.

The residual stream starts with the token in most places, one constant (`CONSTANT`), and room for
the token before (`PREVIOUS`).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .model import EMBEDDING_STD, Shape

PREVIOUS = slice(128, 192)
CONSTANT = 255
NUM_FAST = 8  # rotary frequencies that tell neighbours apart
NUM_STEADY = 16  # those that hardly turn within a conversation


def _projection(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draw orthonormal rows `f32[H, D]` that read the token and nothing else."""
    rows = rng.normal(size=(shape.hidden_size, shape.head_dim))
    rows[PREVIOUS] = 0.0
    rows[CONSTANT] = 0.0
    return np.linalg.qr(rows)[0].T.astype(np.float32)


def _previous_head(weights: dict[str, np.ndarray], token: np.ndarray, shape: Shape) -> None:
    """Attend to the place before, and write its token to `PREVIOUS`.

    Query and key are constants; turning the key by one place makes their product largest there.
    """
    half, head = shape.head_dim // 2, shape.head_dim
    turn = shape.rope_theta ** (-np.arange(NUM_FAST) / half)
    fast = np.arange(NUM_FAST)
    weights["q"][fast, CONSTANT] += 1.3
    weights["k"][fast, CONSTANT] += 1.3 * np.cos(turn)
    weights["k"][half + fast, CONSTANT] += 1.3 * np.sin(turn)
    weights["v"][:head] = token
    weights["o"][PREVIOUS, :head] = 0.1 * np.eye(head)


def _match_head(
    weights: dict[str, np.ndarray], token: np.ndarray, written: np.ndarray, shape: Shape
) -> None:
    """Attend to places whose previous token is this one, and write their token."""
    half, head = shape.head_dim // 2, shape.head_dim
    steady = np.arange(half - NUM_STEADY, half)
    rows = np.concatenate([steady, half + steady])
    weights["q"][rows] = 2.0 * token[rows]
    weights["k"][rows] = 0.0
    weights["k"][rows, PREVIOUS.start + rows] = 2.0
    weights["v"][:head] = written
    weights["o"][:, :head] = 1.2 * written.T


def plant_copying(params: Mapping[str, jax.Array], shape: Shape, seed: int) -> dict[str, jax.Array]:
    """Return the weights with an induction head in layers 0 and 1."""
    rng = np.random.default_rng(seed)
    token, written = _projection(rng, shape), _projection(rng, shape)
    planted = {name: np.array(value) for name, value in params.items()}
    embedding = planted["model.embed_tokens.weight"]
    embedding[:, PREVIOUS] = 0.0
    embedding[:, CONSTANT] = 4 * EMBEDDING_STD
    layers = [
        {part: planted[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkvo"}
        for layer in (0, 1)
    ]
    _previous_head(layers[0], token, shape)
    _match_head(layers[1], token, written, shape)
    return {name: jnp.asarray(value) for name, value in planted.items()}
