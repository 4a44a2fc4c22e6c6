"""Each sampling param against a NumPy oracle, alone and in mixed batches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.engine.sampling import (
    BatchSampling,
    SlotTable,
    count_tokens,
    empty_slots,
    likeliest,
    sample,
)

VOCAB = 24
NUM_DRAWS = 4000
RNG = np.random.default_rng(7)
LOGITS = RNG.normal(scale=2.0, size=VOCAB).astype(np.float32)

PARAMS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": VOCAB + 10},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"min_p": 0.2},
    {"typical_p": 0.4},
    {"temperature": 1.5, "top_k": 12, "typical_p": 0.8},
    {"top_k": 6, "top_p": 0.8},
    {"temperature": 0.7, "top_k": 9, "top_p": 0.7, "min_p": 0.3},
    {"repetition_penalty": 1.8},
    {"repetition_penalty": 0.6, "temperature": 0.8},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.7},
    {"presence_penalty": -1.0, "frequency_penalty": 0.5, "top_k": 8},
    {"bias": {3: 4.0, 5: -np.inf, 11: 1.0}},
    {"ban_stops": True, "temperature": 1.2},
    {"allowed": [2, 7, 8, 20, 23]},
    {"allowed": [0, 3, 5, 11, 12], "bias": {5: 2.0}, "top_p": 0.8, "presence_penalty": 0.5},
]
OUTPUT = [1, 1, 4, 9, 9, 9]
PROMPT = [2, 4]
STOPS = [int(np.argmax(LOGITS)), 0]


def oracle(params: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The distribution that a row with `params` should draw from, f64[V]."""
    logits = LOGITS.astype(np.float64)
    counts = np.bincount(OUTPUT, minlength=VOCAB)
    if {"repetition_penalty", "presence_penalty", "frequency_penalty"} & params.keys():
        seen = sorted({*OUTPUT, *PROMPT})
        penalty = params.get("repetition_penalty", 1.0)
        logits[seen] = [x / penalty if x > 0 else x * penalty for x in logits[seen]]
        logits -= params.get("frequency_penalty", 0.0) * counts
        logits -= params.get("presence_penalty", 0.0) * (counts > 0)
    for token, bias in params.get("bias", {}).items():
        logits[token] += bias
    if params.get("ban_stops"):
        logits[STOPS] = -np.inf
    if "allowed" in params:
        logits[~np.isin(np.arange(VOCAB), params["allowed"])] = -np.inf
    logits /= params.get("temperature", 1.0)
    kept = np.argsort(-logits)[: params.get("top_k", VOCAB)]
    probs = np.zeros(VOCAB)
    probs[kept] = np.exp(logits[kept] - logits.max())
    probs /= probs.sum()
    if params.get("top_p", 1.0) < 1.0:
        order = np.argsort(-probs)
        before = np.cumsum(probs[order]) - probs[order]
        probs[order[before >= params["top_p"]]] = 0.0
    if params.get("typical_p", 1.0) < 1.0:
        probs /= probs.sum()
        surprise = -np.log(probs, where=probs > 0, out=np.full(VOCAB, -np.inf))
        order = np.argsort(np.abs(surprise - (probs * np.where(probs > 0, surprise, 0)).sum()))
        before = np.cumsum(probs[order]) - probs[order]
        probs[order[before >= params["typical_p"]]] = 0.0
    probs[probs < params.get("min_p", 0.0) * probs.max()] = 0.0
    return probs / probs.sum()


def batch(rows: list[dict[str, Any]], seeds: np.ndarray[Any, Any]) -> BatchSampling:
    def column(name: str, default: float, dtype: Any = np.float32) -> jax.Array:
        return jnp.asarray([row.get(name, default) for row in rows], dtype)

    penalties = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    return BatchSampling(
        temperature=column("temperature", 1.0),
        top_k=column("top_k", 0, np.int32),
        top_p=column("top_p", 1.0),
        typical_p=column("typical_p", 1.0),
        min_p=column("min_p", 0.0),
        presence_penalty=column("presence_penalty", 0.0),
        frequency_penalty=column("frequency_penalty", 0.0),
        repetition_penalty=column("repetition_penalty", 1.0),
        seed=jnp.asarray(seeds, jnp.uint32),
        position=jnp.full(len(rows), 5, jnp.int32),
        counts_tokens=jnp.asarray([any(p in row for p in penalties) for row in rows]),
        has_bias=jnp.asarray(["bias" in row for row in rows]),
        bans_stops=column("ban_stops", False, bool),
        constrained=jnp.asarray(["allowed" in row for row in rows]),
        wants_logprobs=column("wants_logprobs", False, bool),
    )


def table(rows: list[dict[str, Any]]) -> SlotTable:
    counts = np.bincount(OUTPUT, minlength=VOCAB)
    bias = np.zeros((len(rows), VOCAB), np.float32)
    for index, row in enumerate(rows):
        for token, value in row.get("bias", {}).items():
            bias[index, token] = value
    tile = (len(rows), 1)
    return SlotTable(
        output_counts=jnp.asarray(np.tile(counts, tile), jnp.int32),
        in_prompt=jnp.asarray(np.tile(np.isin(np.arange(VOCAB), PROMPT), tile)),
        stops=jnp.asarray(np.tile(np.isin(np.arange(VOCAB), STOPS), tile)),
        bias=jnp.asarray(bias),
        allowed=jnp.asarray(
            [[sum(1 << token for token in row.get("allowed", ()))] for row in rows], jnp.uint32
        ),
    )


_sample = jax.jit(sample, static_argnames=("num_valid", "max_logprobs"))


def draw(
    rows: list[dict[str, Any]], seeds: np.ndarray[Any, Any], logits: Any = None, valid: int = VOCAB
) -> Any:
    logits = np.tile(LOGITS, (len(rows), 1)) if logits is None else logits
    slots = jnp.arange(len(rows), dtype=jnp.int32)
    return _sample(
        jnp.asarray(logits),
        batch(rows, seeds),
        slots,
        table(rows),
        num_valid=valid,
        max_logprobs=4,
    )


def seeds_for(count: int, start: int = 0) -> np.ndarray[Any, Any]:
    return np.stack([np.zeros(count), np.arange(start, start + count)], 1).astype(np.uint32)


def assert_drawn_from(tokens: Any, probs: np.ndarray[Any, Any]) -> None:
    counts = np.bincount(np.asarray(tokens), minlength=VOCAB)
    assert counts[probs == 0].sum() == 0, "an impossible token was drawn"
    expected = probs * counts.sum()
    chi2 = ((counts - expected)[probs > 0] ** 2 / expected[probs > 0]).sum()
    freedom = (probs > 0).sum() - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom) + 10


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_draws_follow_the_oracle(params: dict[str, Any]) -> None:
    tokens = draw([params] * NUM_DRAWS, seeds_for(NUM_DRAWS)).tokens
    assert_drawn_from(tokens, oracle(params))


def test_draws_follow_the_oracle_in_a_mixed_batch() -> None:
    rows = PARAMS * 500
    tokens = np.asarray(draw(rows, seeds_for(len(rows), 10_000)).tokens)
    for index, params in enumerate(PARAMS):
        assert_drawn_from(tokens[index :: len(PARAMS)], oracle(params))


def test_a_row_draws_the_same_alone_and_among_others() -> None:
    rows = PARAMS
    seeds = seeds_for(len(rows), 77)
    together = np.asarray(draw(rows, seeds).tokens)
    for index, params in enumerate(rows):
        alone = draw([params], seeds[index : index + 1]).tokens
        assert int(alone[0]) == together[index]


def test_zero_temperature_takes_the_first_of_the_largest() -> None:
    logits = np.zeros((2, VOCAB), np.float32)
    logits[0, [7, 3, 9]] = 5.0
    rows = [{"temperature": 0.0, "top_k": 3, "top_p": 0.1}, {"temperature": 0.0}]
    tokens = np.asarray(draw(rows, seeds_for(2), logits).tokens)
    assert tokens.tolist() == [3, 0]


def test_the_likeliest_is_what_greedy_rows_draw() -> None:
    logits = np.random.default_rng(5).normal(size=(6, VOCAB)).astype(np.float32)
    logits[1, [7, 3]] = 50.0
    logits[2, 4] = np.nan
    wanted = draw([{"temperature": 0.0}] * 6, seeds_for(6), logits, valid=20)
    got = likeliest(jnp.asarray(logits), num_valid=20, max_logprobs=4)
    for part, same in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(part, same)
        assert part.dtype == same.dtype


def test_ids_past_the_vocabulary_are_never_drawn() -> None:
    logits = np.tile(LOGITS, (200, 1))
    logits[:, 20:] = 50.0
    for params in ({}, {"temperature": 0.0}, {"top_p": 0.5}):
        tokens = np.asarray(draw([params] * 200, seeds_for(200), logits, valid=20).tokens)
        assert tokens.max() < 20


def test_a_row_with_a_non_finite_logit_says_so_and_leaves_the_others_alone() -> None:
    rows: list[dict[str, Any]] = [{}, {"top_p": 0.9}, {}]
    logits = np.tile(LOGITS, (3, 1))
    clean = np.asarray(draw(rows, seeds_for(3), logits).tokens)
    logits[1, 4] = np.nan
    drawn = draw(rows, seeds_for(3), logits)
    assert np.asarray(drawn.finite).tolist() == [True, False, True]
    assert np.asarray(drawn.tokens)[[0, 2]].tolist() == clean[[0, 2]].tolist()


def test_banning_everything_still_draws_a_token() -> None:
    params = {"bias": dict.fromkeys(range(VOCAB), -np.inf), "top_p": 0.5}
    token = int(draw([params], seeds_for(1)).tokens[0])
    assert 0 <= token < VOCAB


def test_logprobs_are_those_of_the_raw_logits() -> None:
    params = {"temperature": 0.3, "bias": {2: 9.0}, "wants_logprobs": True}
    drawn = draw([params], seeds_for(1))
    expected = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum())
    np.testing.assert_allclose(drawn.logprobs[0], expected[int(drawn.tokens[0])], atol=1e-5)
    order = np.argsort(-expected)[:4]
    assert np.asarray(drawn.top_tokens[0]).tolist() == order.tolist()
    np.testing.assert_allclose(drawn.top_logprobs[0], expected[order], atol=1e-5)


def test_a_chosen_logprob_is_the_same_number_among_the_top() -> None:
    drawn = draw([{"temperature": 0.0, "wants_logprobs": True}], seeds_for(1))
    assert int(drawn.tokens[0]) == int(drawn.top_tokens[0, 0])
    assert float(drawn.logprobs[0]) == float(drawn.top_logprobs[0, 0])


def test_tokens_are_counted_for_the_rows_that_ask() -> None:
    slots = empty_slots(4, VOCAB)
    tokens, where = jnp.asarray([5, 6, 7]), jnp.asarray([2, 0, 3])
    counted = count_tokens(slots, tokens, where, jnp.asarray([True, False, True]))
    counts = np.asarray(counted.output_counts)
    assert counts[2, 5] == 1
    assert counts[3, 7] == 1
    assert counts.sum() == 2
