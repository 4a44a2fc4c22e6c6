"""What must a step read and compute at the least? Counted from the model's arrays and its config.

The counts are those that model bandwidth and model FLOP utilisation are defined by: every weight
that a token takes part in is read once a step, every key and value once for its row, and a product
of m x n numbers costs 2 m n operations. What a program does beyond that is its own affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx

from jaxserve.engine.step import Step
from jaxserve.models.config import DecoderConfig, LayerConfig
from jaxserve.models.decoder import Decoder
from jaxserve.models.loading import LoadedModel

# Read by the row, which costs next to nothing; the embedding also where it makes no logits.
TABLES = ("embed_tokens.", "embed_positions.", "layer_inputs.", "lm_head.")
PARTS = (".values", ".scales", ".zeros")  # of a quantised weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Bytes to read and floating point operations, on all devices together."""

    num_bytes: float
    flops: float


@dataclass(slots=True, kw_only=True)
class _Weight:
    """What takes part in a step: `share` of it for each token, of several experts some."""

    size: int  # numbers that are multiplied with
    share: float
    num_bytes: int = 0  # as they are held


class WorkCounter:
    """Counts the steps of one model."""

    def __init__(self, model: LoadedModel, *, kv_bytes_per_token: int) -> None:
        self._config = model.config
        self._kv_bytes_per_token = kv_bytes_per_token
        weights = _weights(model)
        head = "embed_tokens." if model.config.tied_embeddings else "lm_head."
        self._head = [weight for path, weight in weights.items() if path.startswith(head)]
        self._layers = [weight for path, weight in weights.items() if not path.startswith(TABLES)]

    def of(self, step: Step) -> Work:
        """The least that this step takes."""
        num_tokens, num_drawn = step.num_tokens, sum(row.samples for row in step.rows)
        num_bytes = float(sum(weight.num_bytes for weight in self._head))
        flops = 2.0 * num_drawn * sum(weight.size for weight in self._head)
        for weight in self._layers:
            # Experts that at least one of the tokens is routed to, were routing even.
            used = 1 - (1 - weight.share) ** num_tokens
            num_bytes += weight.num_bytes * used
            flops += 2.0 * weight.size * weight.share * num_tokens
        for row in step.rows:
            num_bytes += self._kv_bytes_per_token * (row.start + row.num_tokens)
            # Token i of the row sees all that came before it, and itself.
            pairs = row.num_tokens * row.start + row.num_tokens * (row.num_tokens + 1) // 2
            flops += pairs * self._flops_per_pair
        return Work(num_bytes=num_bytes, flops=flops)

    @property
    def _flops_per_pair(self) -> float:
        """Of a query and a key, over all layers and heads: their product, and the value's sum."""
        return float(sum(self._layer_flops_per_pair(layer) for layer in self._config.layers))

    def _layer_flops_per_pair(self, layer: LayerConfig) -> int:
        if layer.recurrent is not None:
            return 0
        row = self._config.kv_row(layer)
        value_dim = row.head_dim if row.value_dim is None else row.value_dim
        return 2 * self._config.num_q_heads * (row.head_dim + value_dim)


def _weights(model: LoadedModel) -> dict[str, _Weight]:
    """By the paths that weights have as floats: quantised ones are held in several arrays."""
    config = model.config
    decoder = nnx.eval_shape(lambda: Decoder(config, dtype=jnp.dtype("float32")))
    weights = {}
    for keys, leaf in nnx.to_flat_state(nnx.state(decoder)):
        shape = leaf.get_value().shape
        # Norms and biases cost next to nothing.
        size = leaf.get_value().size if len(shape) > 1 else 0
        path = ".".join(map(str, keys))
        weights[path] = _Weight(size=size, share=_share(path, shape, config))
    for path, array in model.params_by_path().items():
        base = next((path.removesuffix(part) for part in PARTS if path.endswith(part)), path)
        weights[base].num_bytes += array.nbytes
    return weights


def _share(path: str, shape: tuple[int, ...], config: DecoderConfig) -> float:
    """How much of a weight a token takes part in."""
    moe = config.layers[int(path.split(".")[1])].moe if path.startswith("layers.") else None
    if moe is None or len(shape) != 3 or shape[0] != moe.routing.num_experts:
        return 1.0
    return moe.routing.num_chosen / moe.routing.num_experts
