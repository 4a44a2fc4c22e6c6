"""What is an encoder made of?

The declared parts of a model that reads a whole text at once, in our words. Read from a checkpoint
by `encoders/`; knows nothing of config.json, weights or devices.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxserve.models.config import DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(DecoderConfig):
    """A decoder's parts, put together as encoders do: every token sees those after it too.

    A layer's `window` is what a token sees to either side, itself included. `norm_after_sum` is
    BERT's order: attention and MLP are each added to what came in, and the sum is normalised;
    else what goes into them is. `block` has no meaning here.
    """

    norm_after_sum: bool
    first_layer_normed: bool = True  # False: the embedding's norm is the one before attention
    final_norm: bool = False
    num_token_types: int = 0  # rows of an embedding that tells a pair's second text from its first
    first_position: int = 0  # row of the position embedding for the first token
