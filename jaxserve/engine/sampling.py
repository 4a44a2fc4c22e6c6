"""Which token does each row draw: logits to tokens and log-probabilities, on the device.

Pure JAX over the whole batch in one program. Work that no row of the batch asks for is skipped
by a conditional, not by another program, but for `likeliest`. A row's draw depends on its own
logits, params, seed and position only, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxserve.engine.masks import MASK_BITS, num_mask_words

_BANNED = -jnp.inf
_MIN_TEMPERATURE = 0.01  # a smaller one would overflow the logits


class BatchSampling(NamedTuple):
    """Sampling params of a batch, one entry per row; what is off has its neutral value."""

    temperature: jax.Array  # f32[R]; 0 is greedy
    top_k: jax.Array  # i32[R]; 0 is off
    top_p: jax.Array  # f32[R]; 1 is off
    typical_p: jax.Array  # f32[R]; 1 is off
    min_p: jax.Array  # f32[R]; 0 is off
    presence_penalty: jax.Array  # f32[R]
    frequency_penalty: jax.Array  # f32[R]
    repetition_penalty: jax.Array  # f32[R]
    seed: jax.Array  # u32[R, 2]
    position: jax.Array  # i32[R]; of the token to draw, counted from the start of the sequence
    counts_tokens: jax.Array  # bool[R]; has a penalty
    has_bias: jax.Array  # bool[R]
    bans_stops: jax.Array  # bool[R]; min_tokens not reached
    constrained: jax.Array  # bool[R]
    wants_logprobs: jax.Array  # bool[R]


class SlotTable(NamedTuple):
    """What the device keeps per slot for the requests that need it; stale for all others."""

    output_counts: jax.Array  # i32[S, V]; how often a token was generated
    in_prompt: jax.Array  # bool[S, V]
    stops: jax.Array  # bool[S, V]; tokens that end the request
    bias: jax.Array  # f32[S, V]; added to the logits
    allowed: jax.Array  # u32[S, ceil(V / 32)]; a bit per token that the constraint allows next


class Draw(NamedTuple):
    """One token per row. Log-probabilities are those of the raw logits; garbage unless wanted."""

    tokens: jax.Array  # i32[R]
    finite: jax.Array  # bool[R]; were all logits of the row finite
    logprobs: jax.Array  # f32[R]
    top_tokens: jax.Array  # i32[R, max_logprobs]
    top_logprobs: jax.Array  # f32[R, max_logprobs]


def empty_slots(num_slots: int, vocab_size: int) -> SlotTable:
    shape = (num_slots, vocab_size)
    return SlotTable(
        output_counts=jnp.zeros(shape, jnp.int32),
        in_prompt=jnp.zeros(shape, bool),
        stops=jnp.zeros(shape, bool),
        bias=jnp.zeros(shape, jnp.float32),
        allowed=jnp.zeros((num_slots, num_mask_words(vocab_size)), jnp.uint32),
    )


def sample(
    logits: jax.Array,
    params: BatchSampling,
    slots: jax.Array,
    table: SlotTable,
    *,
    num_valid: int,
    max_logprobs: int,
    drafted: jax.Array | None = None,
) -> Draw:
    """Draw one token per row of logits f32[R, V]; `slots` i32[R] are the rows' in `table`.

    `drafted` i32[R, k] are tokens that count as generated beside those in `table`; negative ones
    are none.

    Order: repetition (Keskar et al., arXiv:1909.05858), frequency and presence penalties, bias,
    banned stops, what a constraint does not allow; temperature; top-k; top-p (Holtzman et al.,
    arXiv:1904.09751), the crossing token included; typical-p (Meister et al., arXiv:2202.00666);
    min-p (Nguyen et al., arXiv:2407.01082). Tokens that tie with the last one kept are kept too, as
    in transformers. Greedy ties go to the lowest id. Ids at or past `num_valid` (padding of the
    embedding) are never drawn.
    """
    finite, raw = _without_padding(logits, num_valid)
    adjusted = _adjust(raw, params, slots, table, drafted)
    adjusted = _constrain(adjusted, params, slots, table)
    tokens = jax.lax.cond(
        (params.temperature > 0).any(),
        lambda: _draw(adjusted, params),
        lambda: jnp.argmax(adjusted, -1).astype(jnp.int32),
    )
    return Draw(tokens, finite, *_logprobs(raw, tokens, params, max_logprobs))


def likeliest(logits: jax.Array, *, num_valid: int, max_logprobs: int) -> Draw:
    """What `sample` draws for rows that are greedy and ask for nothing else, without asking."""
    finite, raw = _without_padding(logits, num_valid)
    return Draw(
        jnp.argmax(raw, -1).astype(jnp.int32), finite, *_no_logprobs(len(raw), max_logprobs)
    )


def _without_padding(logits: jax.Array, num_valid: int) -> tuple[jax.Array, jax.Array]:
    """Which rows are finite, and logits with nothing for the tokens that do not exist."""
    finite = jnp.isfinite(logits).all(-1)
    logits = jnp.where(finite[:, None], logits, 0.0)
    return finite, jnp.where(jnp.arange(logits.shape[-1]) < num_valid, logits, _BANNED)


def write_slot(table: SlotTable, slot: jax.Array, words: jax.Array) -> SlotTable:
    """Set what a slot keeps for its request: counts, in prompt, stops and bias, i32[4, V]."""
    bias = jax.lax.bitcast_convert_type(words[3], jnp.float32)
    return table._replace(
        output_counts=table.output_counts.at[slot].set(words[0]),
        in_prompt=table.in_prompt.at[slot].set(words[1] > 0),
        stops=table.stops.at[slot].set(words[2] > 0),
        bias=table.bias.at[slot].set(bias),
    )


def write_masks(table: SlotTable, words: jax.Array) -> SlotTable:
    """Set masks, a row for each, its slot first; rows that name a slot past the last are idle."""
    masks = jax.lax.bitcast_convert_type(words[:, 1:], jnp.uint32)
    return table._replace(allowed=table.allowed.at[words[:, 0]].set(masks, mode="drop"))


def count_tokens(
    table: SlotTable, tokens: jax.Array, slots: jax.Array, rows: jax.Array
) -> SlotTable:
    """Count the drawn tokens i32[R] of the rows bool[R] that ask for it. Donates `table`."""
    slot = jnp.where(rows, slots, table.output_counts.shape[0])
    counts = table.output_counts.at[slot, tokens].add(1, mode="drop")
    return table._replace(output_counts=counts)


def _adjust(
    logits: jax.Array,
    params: BatchSampling,
    slots: jax.Array,
    table: SlotTable,
    drafted: jax.Array | None,
) -> jax.Array:
    needed = params.counts_tokens | params.has_bias | params.bans_stops
    return jax.lax.cond(
        needed.any(), lambda: _adjusted(logits, params, slots, table, drafted), lambda: logits
    )


def _adjusted(
    logits: jax.Array,
    params: BatchSampling,
    slots: jax.Array,
    table: SlotTable,
    drafted: jax.Array | None,
) -> jax.Array:
    counts = table.output_counts[slots]
    if drafted is not None:
        token = jnp.where(drafted < 0, counts.shape[1], drafted)  # out of range: dropped
        counts = counts.at[jnp.arange(len(counts))[:, None], token].add(1, mode="drop")
    repetition = params.repetition_penalty[:, None]
    repeated = (counts > 0) | table.in_prompt[slots]
    penalised = jnp.where(logits > 0, logits / repetition, logits * repetition)
    penalised = jnp.where(repeated, penalised, logits)
    penalised -= params.frequency_penalty[:, None] * counts
    penalised -= params.presence_penalty[:, None] * (counts > 0)
    logits = jnp.where(params.counts_tokens[:, None], penalised, logits)
    logits += jnp.where(params.has_bias[:, None], table.bias[slots], 0.0)
    return jnp.where(params.bans_stops[:, None] & table.stops[slots], _BANNED, logits)


def _constrain(
    logits: jax.Array, params: BatchSampling, slots: jax.Array, table: SlotTable
) -> jax.Array:
    def constrained() -> jax.Array:
        bits = table.allowed[slots][:, :, None] >> jnp.arange(MASK_BITS, dtype=jnp.uint32)
        allowed = (bits & 1).reshape(logits.shape[0], -1)[:, : logits.shape[1]] > 0
        return jnp.where(allowed | ~params.constrained[:, None], logits, _BANNED)

    return jax.lax.cond(params.constrained.any(), constrained, lambda: logits)


def _draw(logits: jax.Array, params: BatchSampling) -> jax.Array:
    greedy = params.temperature <= 0
    temperature = jnp.where(greedy, 1.0, jnp.maximum(params.temperature, _MIN_TEMPERATURE))
    scaled = logits / temperature[:, None]
    filtered = (params.top_k > 0) | (params.top_p < 1) | (params.min_p > 0)
    filtered |= params.typical_p < 1
    kept = jax.lax.cond((filtered & ~greedy).any(), lambda: _filter(scaled, params), lambda: scaled)
    noise = jax.vmap(_gumbel, (0, 0, None))(params.seed, params.position, logits.shape[-1])
    chosen = jnp.where(greedy[:, None], logits, kept + noise)
    return jnp.argmax(chosen, -1).astype(jnp.int32)


def _gumbel(seed: jax.Array, position: jax.Array, size: int) -> jax.Array:
    key = jax.random.wrap_key_data(seed, impl="threefry2x32")
    return jax.random.gumbel(jax.random.fold_in(key, position), (size,), jnp.float32)


def _filter(logits: jax.Array, params: BatchSampling) -> jax.Array:
    keys = _sortable(logits)
    top_k = jnp.where(params.top_k > 0, params.top_k, logits.shape[-1])
    kth = _largest_key(keys, lambda kept: kept.sum(-1) >= top_k)
    logits = jnp.where(keys >= kth[:, None], logits, _BANNED)

    probs = jax.nn.softmax(logits, -1)
    crossing = _largest_key(keys, lambda kept: jnp.where(kept, probs, 0).sum(-1) >= params.top_p)
    crossing = jnp.where(params.top_p < 1, crossing, 0)
    logits = jnp.where(keys >= crossing[:, None], logits, _BANNED)

    typical = params.typical_p < 1
    logits = jax.lax.cond(typical.any(), lambda: _typical(logits, params.typical_p), lambda: logits)

    floor = logits.max(-1) + jnp.log(params.min_p)  # -inf when off
    return jnp.where(logits >= floor[:, None], logits, _BANNED)


def _typical(logits: jax.Array, mass: jax.Array) -> jax.Array:
    """Keep the tokens whose surprise is nearest to the expected one, until they have the mass."""
    logprobs = jax.nn.log_softmax(logits, -1)
    probs = jnp.exp(logprobs)
    entropy = -jnp.where(probs > 0, probs * logprobs, 0.0).sum(-1, keepdims=True)
    nearness = _sortable(-jnp.abs(-logprobs - entropy))
    crossing = _largest_key(nearness, lambda kept: jnp.where(kept, probs, 0).sum(-1) >= mass)
    crossing = jnp.where(mass < 1, crossing, 0)
    return jnp.where(nearness >= crossing[:, None], logits, _BANNED)


def _sortable(values: jax.Array) -> jax.Array:
    """u32 keys in the order of the floats."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    sign = jnp.uint32(0x80000000)
    return jnp.where(bits & sign, ~bits, bits | sign)


def _largest_key(keys: jax.Array, enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The largest threshold u32[R] for which the keys at or above it are enough.

    A search over the 32 bits: no sort, which on a large vocabulary costs several times more.
    """

    def try_bit(index: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found | (jnp.uint32(1) << (31 - index).astype(jnp.uint32))
        return jnp.where(enough(keys >= candidate[:, None]), candidate, found)

    return jax.lax.fori_loop(0, 32, try_bit, jnp.zeros(keys.shape[0], jnp.uint32))


def _logprobs(
    raw: jax.Array, tokens: jax.Array, params: BatchSampling, max_logprobs: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def compute() -> tuple[jax.Array, jax.Array, jax.Array]:
        logprobs = jax.nn.log_softmax(raw, -1)
        chosen = jnp.take_along_axis(logprobs, tokens[:, None], -1)[:, 0]
        top, ids = jax.lax.top_k(logprobs, max_logprobs)
        return chosen, ids.astype(jnp.int32), top

    skip = partial(_no_logprobs, len(tokens), max_logprobs)
    return jax.lax.cond(params.wants_logprobs.any(), compute, skip)


def _no_logprobs(num_rows: int, max_logprobs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    top = (num_rows, max_logprobs)
    return jnp.zeros(num_rows), jnp.zeros(top, jnp.int32), jnp.zeros(top)
