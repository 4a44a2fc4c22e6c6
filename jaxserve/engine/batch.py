"""How does a step become arrays: rows to one padded buffer of 32-bit words, and back.

Everything the device needs to know about a step travels in one host-to-device copy, and what it
answers comes back in one. Knows the layout of both; the program that runs between is the runner's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxserve.engine.buckets import Bucket
from jaxserve.engine.masks import mask_words
from jaxserve.engine.request import Request, TokenLogprob
from jaxserve.engine.sampling import BatchSampling, Draw
from jaxserve.engine.step import Row, Sampled, Step, StepResult, confirmed
from jaxserve.models.attention.interface import AttentionMetadata, row_of_token

CARRIED = -1  # a token the host does not know yet: the device has it, in the row's slot

Words = npt.NDArray[np.int32]


class Inputs(NamedTuple):
    """A step on the device. `tokens` may hold CARRIED.

    N tokens are drawn: one a row, or one after each token where the bucket verifies.
    """

    tokens: jax.Array  # i32[T]
    attention: AttentionMetadata
    adapters: jax.Array  # i32[R]; counted from 1, 0 is none
    sampling: BatchSampling  # of N draws
    samples: jax.Array  # bool[N]
    draw_slots: jax.Array  # i32[N]

    @property
    def slots(self) -> jax.Array:
        """i32[R]"""
        slots = self.attention.slots
        assert slots is not None, "every row of a step has a slot"
        return slots


# The fields of a row in the buffer, and how many words each takes; floats travel as their bits.
# The first four change with every step, the others belong to the request.
_STEP_FIELDS = {"slot": 1, "samples": 1, "start": 1, "num_tokens": 1}
_FLOAT_FIELDS = {
    "temperature": 1,
    "top_p": 1,
    "typical_p": 1,
    "min_p": 1,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "repetition_penalty": 1,
}
_INTEGER_FIELDS = {
    "top_k": 1,
    "seed": 2,
    "stops_from": 1,  # position from which the request may stop (min_tokens)
    "counts_tokens": 1,
    "has_bias": 1,
    "constrained": 1,
    "wants_logprobs": 1,
    "adapter": 1,
}
_FIELDS = {**_STEP_FIELDS, **_FLOAT_FIELDS, **_INTEGER_FIELDS}
_COLUMN = {name: sum(list(_FIELDS.values())[:index]) for index, name in enumerate(_FIELDS)}
_NUM_COLUMNS = sum(_FIELDS.values())


def num_words(bucket: Bucket, pages_per_seq: int) -> int:
    return bucket.num_tokens + bucket.num_rows * (_NUM_COLUMNS + pages_per_seq)


class Packer:
    """Packs steps; keeps each slot's row, so that a step costs only what changed since the last.

    A step as i32[num_words]: tokens [T], then a row of fields and page indices for each of R.
    """

    def __init__(self, *, num_slots: int, pages_per_seq: int):
        self._pages_per_seq = pages_per_seq
        self._slots = np.zeros((num_slots, _NUM_COLUMNS + pages_per_seq), np.int32)
        self._num_pages = [0] * num_slots

    def pack(self, step: Step, bucket: Bucket) -> Words:
        words = np.zeros(num_words(bucket, self._pages_per_seq), np.int32)
        if not step.rows:
            return words
        requests, slots, starts, nums_tokens, samples, takes_slot, _ = zip(*step.rows, strict=True)
        for row in step.rows if any(takes_slot) else ():
            self._take_slot(row)
        for slot, request in zip(slots, requests, strict=True):
            if len(request.pages) > self._num_pages[slot]:
                self._write_pages(slot, request.pages)
        table = words[bucket.num_tokens :].reshape(bucket.num_rows, -1)
        live = table[: len(slots)]
        live[:] = self._slots[np.array(slots, np.intp)]
        for column, values in enumerate((slots, samples, starts, nums_tokens)):
            live[:, column] = values
        words[: step.num_tokens] = _tokens(step)
        return words

    def _take_slot(self, row: Row) -> None:
        if row.takes_slot:
            self._slots[row.slot, :_NUM_COLUMNS] = _request_words(row.request)
            self._num_pages[row.slot] = 0

    def _write_pages(self, slot: int, pages: Sequence[int]) -> None:
        have = self._num_pages[slot]
        self._slots[slot, _NUM_COLUMNS + have : _NUM_COLUMNS + len(pages)] = pages[have:]
        self._num_pages[slot] = len(pages)


def _tokens(step: Step) -> list[int]:
    """The tokens of all rows, one row after another."""
    tokens: list[int] = []
    for request, _, start, num_tokens, _, _, drafts in step.rows:
        if num_tokens == 1 or drafts:
            token = request.token_at(start)
            tokens.append(CARRIED if token is None else token)
            tokens += drafts
        else:
            tokens += _row_tokens(request, start, start + num_tokens)
    return tokens


def _row_tokens(request: Request, start: int, end: int) -> Sequence[int]:
    if end <= len(request.prompt_ids):
        return request.prompt_ids[start:end]
    known = (request.token_at(index) for index in range(start, end))
    return [CARRIED if token is None else token for token in known]


def _request_words(request: Request) -> Words:
    params = request.params
    words = np.zeros(_NUM_COLUMNS, np.int32)
    floats = words.view(np.float32)
    for name in _FLOAT_FIELDS:
        floats[_COLUMN[name]] = getattr(params, name)
    if params.greedy:
        floats[_COLUMN["temperature"]] = 0.0
    words[_COLUMN["top_k"]] = min(params.top_k, np.iinfo(np.int32).max)
    words[_COLUMN["seed"] : _COLUMN["seed"] + 2] = _seed_words(params.seed or 0)
    if request.constraint is None:  # else its masks hold ends back
        words[_COLUMN["stops_from"]] = len(request.prompt_ids) + params.min_tokens
    words[_COLUMN["constrained"]] = request.constraint is not None
    words[_COLUMN["counts_tokens"]] = params.needs_token_counts
    words[_COLUMN["has_bias"]] = params.has_bias
    words[_COLUMN["wants_logprobs"]] = params.logprobs is not None
    words[_COLUMN["adapter"]] = request.adapter
    return words


def _seed_words(seed: int) -> Words:
    return np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32).view(np.int32)


def unpack(words: jax.Array, bucket: Bucket, pages_per_seq: int) -> Inputs:
    """What `Packer` packed, inside the traced program."""
    tokens = words[: bucket.num_tokens]
    table = words[bucket.num_tokens :].reshape(bucket.num_rows, _NUM_COLUMNS + pages_per_seq)

    start, num_tokens = table[:, _COLUMN["start"]], table[:, _COLUMN["num_tokens"]]
    attention = _attention_metadata(
        bucket,
        start,
        num_tokens,
        page_indices=table[:, _NUM_COLUMNS:],
        slots=table[:, _COLUMN["slot"]],
    )
    draws, position = table, start + num_tokens
    if bucket.verifies:
        draws = table[row_of_token(attention.cu_q_lens, bucket.num_tokens)]
        position = attention.positions + 1
    samples = draws[:, _COLUMN["samples"]] > 0
    if bucket.verifies:
        samples &= jnp.arange(bucket.num_tokens) < attention.cu_q_lens[-1]
    return Inputs(
        tokens=tokens,
        attention=attention,
        adapters=table[:, _COLUMN["adapter"]],
        sampling=_sampling(draws, position),
        samples=samples,
        draw_slots=draws[:, _COLUMN["slot"]],
    )


def _sampling(table: jax.Array, position: jax.Array) -> BatchSampling:
    """The params of a row of fields for each draw, of tokens at `position` i32[N]."""

    def integer(name: str) -> jax.Array:
        return table[:, _COLUMN[name]]

    def floating(name: str) -> jax.Array:
        return jax.lax.bitcast_convert_type(integer(name), jnp.float32)

    seed = table[:, _COLUMN["seed"] : _COLUMN["seed"] + 2]
    return BatchSampling(
        temperature=floating("temperature"),
        top_k=integer("top_k"),
        top_p=floating("top_p"),
        typical_p=floating("typical_p"),
        min_p=floating("min_p"),
        presence_penalty=floating("presence_penalty"),
        frequency_penalty=floating("frequency_penalty"),
        repetition_penalty=floating("repetition_penalty"),
        seed=jax.lax.bitcast_convert_type(seed, jnp.uint32),
        position=position,
        counts_tokens=integer("counts_tokens") > 0,
        has_bias=integer("has_bias") > 0,
        bans_stops=position < integer("stops_from"),
        constrained=integer("constrained") > 0,
        wants_logprobs=integer("wants_logprobs") > 0,
    )


def _attention_metadata(
    bucket: Bucket,
    start: jax.Array,
    num_tokens: jax.Array,
    *,
    page_indices: jax.Array,
    slots: jax.Array,
) -> AttentionMetadata:
    cu_q_lens = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(num_tokens)])
    token = jnp.arange(bucket.num_tokens)
    row = row_of_token(cu_q_lens, bucket.num_tokens)
    # Idle tokens take the last row's numbers; clamped, since their output is never read.
    positions = (start[row] + token - cu_q_lens[row]).clip(
        0, start[row] + jnp.maximum(num_tokens[row] - 1, 0)
    )
    return AttentionMetadata(
        positions=positions,
        page_indices=page_indices,
        kv_lens=jnp.where(num_tokens > 0, start + num_tokens, 0),
        cu_q_lens=cu_q_lens,
        num_seqs=(num_tokens > 0).sum(keepdims=True).astype(jnp.int32),
        slots=slots,
    )


def pack_draw(draw: Draw) -> jax.Array:
    """A draw as i32[N, 3 + 2 * max_logprobs], to come back in one device-to-host copy."""
    as_words = (
        draw.tokens[:, None],
        draw.finite[:, None].astype(jnp.int32),
        jax.lax.bitcast_convert_type(draw.logprobs, jnp.int32)[:, None],
        draw.top_tokens,
        jax.lax.bitcast_convert_type(draw.top_logprobs, jnp.int32),
    )
    return jnp.concatenate(as_words, axis=1)


def unpack_draw(words: Words, step: Step) -> tuple[Sampled | None, ...]:
    """The draw of each row of a step that verifies nothing."""
    tokens, finite = words[:, 0].tolist(), words[:, 1].tolist()  # far cheaper than one at a time
    sampled: list[Sampled | None] = []
    for index, row in enumerate(step.rows):
        if not row.samples:
            sampled.append(None)
        elif row.request.params.logprobs is None:
            sampled.append(Sampled(tokens[index], None, finite[index] != 0))
        else:
            sampled.append(_scored(words[index], row.request.params.logprobs))
    return tuple(sampled)


def unpack_verified(words: Words, step: Step) -> StepResult:
    """The draws of each row of a step that verifies drafts, those alone that count."""
    draws: list[tuple[Sampled, ...]] = []
    first = 0
    for row in step.rows:
        wanted, end = row.request.params.logprobs, first + row.num_tokens
        if wanted is None:
            own = [Sampled(i, None, ok != 0) for i, ok in words[first:end, :2].tolist()]
        else:
            own = [_scored(words[index], wanted) for index in range(first, end)]
        draws.append(confirmed(row.drafts, own))
        first = end
    return StepResult(tuple(own[0] for own in draws), further=tuple(own[1:] for own in draws))


def _scored(words: Words, wanted: int) -> Sampled:
    """A draw of a row that wants so many alternatives."""
    token, finite = int(words[0]), bool(words[1])
    max_logprobs = (len(words) - 3) // 2
    floats = words.view(np.float32)
    ids, values = words[3 : 3 + wanted], floats[3 + max_logprobs : 3 + max_logprobs + wanted]
    # Ids past the vocabulary fill the list up when it is longer than the vocabulary.
    top = tuple((int(i), float(x)) for i, x in zip(ids, values, strict=True) if math.isfinite(x))
    return Sampled(token, TokenLogprob(token_id=token, logprob=float(floats[2]), top=top), finite)


def mask_rows(
    masks: Sequence[tuple[int, bytes]], *, size: int, num_slots: int, width: int
) -> Words:
    """Slots and their masks as i32[size, 1 + width]; idle rows name a slot past the last."""
    words = np.zeros((size, 1 + width), np.int32)
    words[:, 0] = num_slots
    words[: len(masks), 0] = [slot for slot, _ in masks]
    words[: len(masks), 1:] = mask_words([mask for _, mask in masks], width).view(np.int32)
    return words


def slot_words(request: Request, vocab_size: int, stop_ids: frozenset[int]) -> Words:
    """What a slot keeps for a request, i32[4, vocab_size]: counts, in prompt, stops, bias bits.

    What bans tokens is left to the masks of a request that has them.
    """
    words = np.zeros((4, vocab_size), np.int32)
    words[0] = np.bincount(np.asarray(request.output_ids, np.int64), minlength=vocab_size)
    words[1, list(request.prompt_ids)] = 1
    words[2, list(stop_ids)] = 1
    biases = words[3].view(np.float32)
    if request.params.allowed_token_ids is not None and request.constraint is None:
        biases[:] = -np.inf
        biases[list(request.params.allowed_token_ids)] = 0.0
    for token, bias in request.params.logit_bias:
        if bias > -100:
            biases[token] += bias
        elif request.constraint is None:
            biases[token] = -np.inf
    return words
