"""How are scores kept from growing large, as Gemma 2 does it?"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def softcapped(scores: jax.Array, cap: float | None) -> jax.Array:
    """`cap * tanh(scores / cap)`, or `scores` where there is no cap."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)
