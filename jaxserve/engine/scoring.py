"""How likely was each token of a prompt? Targets in, log-probabilities of hidden states out.

The device part is pure JAX; the host part packs what to score and reads what came back. Knows
no scheduler: the runner calls it for the steps that hold rows which want their prompt scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxserve.engine.request import TokenLogprob
from jaxserve.engine.step import Row, Step

NOT_SCORED = -1  # the target of a token whose successor nobody asks about
_CHUNK = 32  # tokens whose logits exist at once

Words = npt.NDArray[np.int32]


def targets_of(step: Step, num_tokens: int) -> Words:
    """What follows each token of the step, i32[num_tokens], where that is to be scored."""
    targets = np.full(num_tokens, NOT_SCORED, np.int32)
    first = 0
    for row in step.rows:
        if row.scores_prompt:
            following = row.request.prompt_ids[row.start + 1 : row.start + row.num_tokens + 1]
            targets[first : first + len(following)] = following
        first += row.num_tokens
    return targets


def score(
    hidden: jax.Array,
    targets: jax.Array,
    logits_of: Callable[[jax.Array], jax.Array],
    *,
    num_valid: int,
    max_logprobs: int,
) -> jax.Array:
    """The log-probability of each target after its token, i32[T, 2 + 2 * max_logprobs].

    A row has the target's rank (1 is the likeliest) and the bits of its logprob, then the ids of
    the likeliest tokens and the bits of theirs. `hidden` is [T, D], `targets` i32[T]. The logits
    of few tokens exist at a time, and none of a chunk without targets are computed. Ids at or
    past `num_valid` (padding of the embedding) count as impossible.
    """

    def score_chunk(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
        states, following = chunk
        width = 2 + 2 * max_logprobs
        return jax.lax.cond(
            (following != NOT_SCORED).any(),
            lambda: _packed(_raw_logprobs(logits_of(states), num_valid), following, max_logprobs),
            lambda: jnp.zeros((following.shape[0], width), jnp.int32),
        )

    num_tokens = targets.shape[0]
    padding = -num_tokens % _CHUNK
    states = jnp.pad(hidden, ((0, padding), (0, 0))).reshape(-1, _CHUNK, hidden.shape[-1])
    following = jnp.pad(targets, (0, padding), constant_values=NOT_SCORED).reshape(-1, _CHUNK)
    words = jax.lax.map(score_chunk, (states, following))
    return words.reshape(num_tokens + padding, -1)[:num_tokens]


def read_scores(words: Words, step: Step) -> tuple[tuple[TokenLogprob, ...], ...]:
    """What `score` found for each row of the step: an entry per prompt token after its first."""
    scores: list[tuple[TokenLogprob, ...]] = []
    first = 0
    for row in step.rows:
        scores.append(tuple(_entries(words[first : first + row.num_tokens], row)))
        first += row.num_tokens
    return tuple(scores)


def _entries(words: Words, row: Row) -> list[TokenLogprob]:
    wanted = row.request.params.prompt_logprobs
    if wanted is None or not row.scores_prompt:
        return []
    following = row.request.prompt_ids[row.start + 1 : row.start + row.num_tokens + 1]
    return [_entry(words[index], token, wanted) for index, token in enumerate(following)]


def _entry(words: Words, token: int, wanted: int) -> TokenLogprob:
    max_logprobs = (len(words) - 2) // 2
    floats: npt.NDArray[Any] = words.view(np.float32)
    ids, values = words[2 : 2 + wanted], floats[2 + max_logprobs : 2 + max_logprobs + wanted]
    # Ids past the vocabulary fill the list up when it is longer than the vocabulary.
    top = tuple((int(i), float(x)) for i, x in zip(ids, values, strict=True) if math.isfinite(x))
    return TokenLogprob(token_id=token, logprob=float(floats[1]), top=top, rank=int(words[0]))


def _raw_logprobs(logits: jax.Array, num_valid: int) -> jax.Array:
    valid = jnp.arange(logits.shape[-1]) < num_valid
    return jax.nn.log_softmax(jnp.where(valid, logits, -jnp.inf), -1)


def _packed(logprobs: jax.Array, targets: jax.Array, max_logprobs: int) -> jax.Array:
    chosen = jnp.take_along_axis(logprobs, targets.clip(0)[:, None], -1)
    rank = 1 + (logprobs > chosen).sum(-1, keepdims=True)
    top, ids = jax.lax.top_k(logprobs, max_logprobs)
    bits = jax.lax.bitcast_convert_type
    words = (rank, bits(chosen, jnp.int32), ids, bits(top, jnp.int32))
    return jnp.concatenate([word.astype(jnp.int32) for word in words], axis=1)
