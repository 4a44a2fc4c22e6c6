"""What is the network being trained, and how does it decode?

A Llama decoder as a plain dict of arrays under their Hugging Face names, so that saving is a cast
and nothing else. Knows nothing about text or about training. All arithmetic is float32: on the
CPUs tried, bfloat16 products were slower in training (146 against 170 to 285 GFLOP/s).

Letters: B batch, T query tokens, S KV positions, N query heads, K KV heads, H head_dim, D embed.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Params = Mapping[str, jax.Array]
Cache = tuple[tuple[jax.Array, jax.Array], ...]

MASKED = -1e9
EMBEDDING_STD = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of the network, under the names of the Hugging Face config."""

    vocab_size: int
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 768
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5


def init_params(shape: Shape, key: jax.Array) -> dict[str, jax.Array]:
    """Draw float32 master weights; the embedding is tied, so there is no `lm_head`.

    What a layer adds starts at zero and the embedding starts large, so that each place of the
    residual stream is about its own token first. The last norm starts small to keep the first
    logits near one.
    """
    dim, mlp, head = shape.hidden_size, shape.intermediate_size, shape.head_dim
    queries, keys = shape.num_attention_heads * head, shape.num_key_value_heads * head
    sizes: dict[str, tuple[tuple[int, ...], float]] = {
        "model.embed_tokens.weight": ((shape.vocab_size, dim), EMBEDDING_STD)
    }
    for layer in range(shape.num_hidden_layers):
        at = f"model.layers.{layer}."
        sizes |= {
            at + "self_attn.q_proj.weight": ((queries, dim), 0.5 * dim**-0.5),
            at + "self_attn.k_proj.weight": ((keys, dim), 0.5 * dim**-0.5),
            at + "self_attn.v_proj.weight": ((keys, dim), 0.5 * dim**-0.5),
            at + "self_attn.o_proj.weight": ((dim, queries), 0.0),
            at + "mlp.gate_proj.weight": ((mlp, dim), 0.5 * dim**-0.5),
            at + "mlp.up_proj.weight": ((mlp, dim), 0.5 * dim**-0.5),
            at + "mlp.down_proj.weight": ((dim, mlp), 0.0),
        }
    draws = zip(sizes.items(), jax.random.split(key, len(sizes)), strict=True)
    params = {name: std * jax.random.normal(k, size) for (name, (size, std)), k in draws}
    for layer in range(shape.num_hidden_layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            params[f"model.layers.{layer}.{norm}.weight"] = jnp.ones(dim)
    return params | {"model.norm.weight": jnp.full(dim, 0.25)}


def widen(params: Params, shape: Shape, key: jax.Array) -> dict[str, jax.Array]:
    """Grow the MLPs to `shape`; the function stays as it was, since new outputs weigh nothing.

    A narrow network learns the common part of the task in less time than a wide one.
    """
    grown = dict(params)
    fresh = init_params(shape, key)
    for name, wanted in fresh.items():
        have = params[name].shape
        if "mlp" not in name or have == wanted.shape:
            continue
        if "down_proj" in name:
            new = jnp.zeros((have[0], wanted.shape[1] - have[1]))
            grown[name] = jnp.concatenate([params[name], new], axis=1)
        else:
            grown[name] = jnp.concatenate([params[name], wanted[have[0] :]], axis=0)
    return grown


def project(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiply `[..., in]` by `[out, in]`; flat, for a faster gradient."""
    rows = x.reshape(-1, x.shape[-1]) @ weight.T
    return rows.reshape(*x.shape[:-1], weight.shape[0])


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Apply rotary embeddings to `[B, T, *, H]`, halves paired as Hugging Face's Llama does."""
    half = x.shape[-1] // 2
    inverse = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None] * inverse
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Grouped attention: query `[B, T, N, H]`, key and value `[B, S, K, H]`, mask `bool[B, T, S]`.

    Written as plain batches of matrices, whose gradients a CPU computes faster than the einsum's.
    """
    batch, num_queries, heads, head_dim = query.shape
    length, kv_heads = key.shape[1:3]
    apart = (batch, kv_heads, heads // kv_heads, num_queries, -1)
    together = (batch * kv_heads, heads // kv_heads * num_queries, -1)
    query = query.reshape(batch, num_queries, kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    key, value = (
        x.transpose(0, 2, 1, 3).reshape(batch * kv_heads, length, head_dim) for x in (key, value)
    )
    scores = jnp.einsum("bqh,bsh->bqs", query.reshape(together), key) * head_dim**-0.5
    scores = scores.reshape(apart) + jnp.where(mask, 0.0, MASKED)[:, None, None]
    scores -= lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    odds = jnp.exp(scores)
    chances = (odds / jnp.sum(odds, axis=-1, keepdims=True)).reshape(together)
    mixed = jnp.einsum("bqs,bsh->bqh", chances, value).reshape(apart)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(batch, num_queries, heads * head_dim)


def _qkv(
    params: Params, at: str, x: jax.Array, positions: jax.Array, shape: Shape
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def heads(name: str) -> jax.Array:
        flat = project(x, params[f"{at}self_attn.{name}_proj.weight"])
        return flat.reshape(*x.shape[:-1], -1, shape.head_dim)

    theta = shape.rope_theta
    return rotate(heads("q"), positions, theta), rotate(heads("k"), positions, theta), heads("v")


def _mlp(params: Params, at: str, x: jax.Array) -> jax.Array:
    gate = jax.nn.silu(project(x, params[at + "mlp.gate_proj.weight"]))
    return project(
        gate * project(x, params[at + "mlp.up_proj.weight"]), params[at + "mlp.down_proj.weight"]
    )


def hidden_states(
    params: Params,
    ids: jax.Array,
    positions: jax.Array,
    mask: jax.Array,
    shape: Shape,
    cache: Cache | None = None,
) -> tuple[jax.Array, Cache]:
    """Run the layers over `i32[B, T]`; returns `f32[B, T, D]` after the last norm, and new KV.

    With a cache, the new keys and values are written at `positions` and attention reads all S.
    """
    x = params["model.embed_tokens.weight"][ids]
    rows = jnp.arange(ids.shape[0])[:, None]
    written = []
    for layer in range(shape.num_hidden_layers):
        at = f"model.layers.{layer}."
        normed = rms_norm(x, params[at + "input_layernorm.weight"], shape.rms_norm_eps)
        query, key, value = _qkv(params, at, normed, positions, shape)
        if cache is not None:
            key = cache[layer][0].at[rows, positions].set(key)
            value = cache[layer][1].at[rows, positions].set(value)
        written.append((key, value))
        x = x + project(attend(query, key, value, mask), params[at + "self_attn.o_proj.weight"])
        normed = rms_norm(x, params[at + "post_attention_layernorm.weight"], shape.rms_norm_eps)
        x = x + _mlp(params, at, normed)
    return rms_norm(x, params["model.norm.weight"], shape.rms_norm_eps), tuple(written)


def logits(params: Params, states: jax.Array) -> jax.Array:
    return project(states, params["model.embed_tokens.weight"])


def empty_cache(shape: Shape, batch: int, length: int) -> Cache:
    size = (batch, length, shape.num_key_value_heads, shape.head_dim)
    return tuple((jnp.zeros(size), jnp.zeros(size)) for _ in range(shape.num_hidden_layers))


def greedy(
    params: Params,
    prompts: jax.Array,
    lengths: jax.Array,
    shape: Shape,
    *,
    max_new: int,
    stop_ids: tuple[int, ...],
) -> jax.Array:
    """Decode `i32[B, T]` prompts (right-padded, `lengths` valid) to `i32[B, max_new]`.

    A row that emits a stop id repeats that id until every row is done.
    """
    batch, prompt_len = prompts.shape
    total = prompt_len + max_new
    spots = jnp.broadcast_to(jnp.arange(prompt_len), prompts.shape)
    reach = jnp.arange(total)
    mask = reach[None, None] <= spots[..., None]
    cache = empty_cache(shape, batch, total)
    states, cache = hidden_states(params, prompts, spots, mask, shape, cache)
    last = jnp.take_along_axis(states, (lengths - 1)[:, None, None], axis=1)
    token = jnp.argmax(logits(params, last)[:, 0], axis=-1)
    stops = jnp.array(stop_ids)
    out = jnp.full((batch, max_new), stop_ids[0], jnp.int32)

    def stopped(tokens: jax.Array) -> jax.Array:
        return jnp.any(tokens[:, None] == stops, axis=-1)

    def unfinished(carry: Any) -> jax.Array:
        step, token = carry[0], carry[1]
        return (step < max_new) & ~jnp.all(stopped(token))

    def advance(carry: Any) -> Any:
        step, token, out, cache = carry
        out = out.at[:, step].set(token)
        spot = (lengths + step)[:, None]
        mask = reach[None, None] <= spot[..., None]
        states, cache = hidden_states(params, token[:, None], spot, mask, shape, cache)
        following = jnp.argmax(logits(params, states)[:, 0], axis=-1)
        return step + 1, jnp.where(stopped(token), token, following), out, cache

    return lax.while_loop(unfinished, advance, (0, token, out, cache))[2]


def num_params(params: Params) -> int:
    return sum(value.size for value in params.values())
