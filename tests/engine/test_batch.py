"""A step survives the trip to the device and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.engine.batch import (
    CARRIED,
    Inputs,
    Packer,
    num_words,
    pack_draw,
    slot_words,
    unpack,
    unpack_draw,
)
from jaxserve.engine.buckets import Bucket
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.sampling import Draw
from jaxserve.engine.step import Row, Step

PAGES_PER_SEQ = 6


def make_request(**params: Any) -> Request:
    request = Request(
        id="r", prompt_ids=tuple(range(10, 20)), params=SamplingParams(max_tokens=5, **params)
    )
    request.pages = [4, 2, 7]
    return request


def row(
    request: Request, slot: int, start: int, num_tokens: int, *, takes_slot: bool = True
) -> Row:
    return Row(request, slot, start, num_tokens, True, takes_slot)


def packer() -> Packer:
    return Packer(num_slots=4, pages_per_seq=PAGES_PER_SEQ)


def round_trip(step: Step, bucket: Bucket, packs: Packer | None = None) -> Inputs:
    words = (packs or packer()).pack(step, bucket)
    assert words.shape == (num_words(bucket, PAGES_PER_SEQ),)
    return unpack(jnp.asarray(words), bucket, PAGES_PER_SEQ)


def test_rows_of_a_mixed_step_lie_one_after_another() -> None:
    known, chunk = make_request(), make_request()
    known.output_ids, known.num_pending = [30, 31], 0
    step = Step((row(known, 2, 11, 1), row(chunk, 0, 4, 5)))
    inputs = round_trip(step, Bucket(8, 3, False))
    attention = inputs.attention
    assert inputs.tokens[:6].tolist() == [31, 14, 15, 16, 17, 18]
    assert attention.positions[:6].tolist() == [11, 4, 5, 6, 7, 8]
    assert attention.cu_q_lens.tolist() == [0, 1, 6, 6]
    assert attention.kv_lens.tolist() == [12, 9, 0]
    assert attention.num_seqs.tolist() == [2]
    assert inputs.slots[:2].tolist() == [2, 0]
    assert attention.page_indices[0, :3].tolist() == [4, 2, 7]
    assert inputs.sampling.position[:2].tolist() == [12, 9]


def test_a_pending_token_is_carried_by_the_device() -> None:
    request = make_request()
    request.num_pending = 1
    inputs = round_trip(Step((row(request, 1, 10, 1),)), Bucket(2, 2, True))
    assert inputs.tokens[0] == CARRIED


def test_sampling_params_arrive_unchanged() -> None:
    request = make_request(
        temperature=0.7,
        top_k=9,
        top_p=0.8,
        typical_p=0.6,
        min_p=0.1,
        presence_penalty=-1.5,
        frequency_penalty=0.25,
        repetition_penalty=1.25,
        seed=(7 << 32) + 0xFFFFFFFE,
        logit_bias=((3, 1.0),),
        logprobs=2,
        min_tokens=3,
    )
    got = jax.tree.map(
        lambda x: x[0].tolist(), round_trip(Step((row(request, 0, 9, 1),)), Bucket(1, 1, True))
    ).sampling
    assert np.allclose(got.temperature, 0.7)
    assert (got.top_k, got.seed, got.position) == (9, [7, 0xFFFFFFFE], 10)
    assert np.allclose([got.top_p, got.typical_p, got.min_p], [0.8, 0.6, 0.1])
    assert np.allclose(
        [got.presence_penalty, got.frequency_penalty, got.repetition_penalty], [-1.5, 0.25, 1.25]
    )
    assert (got.counts_tokens, got.has_bias, got.bans_stops, got.wants_logprobs) == (True,) * 4


def test_stops_are_banned_until_min_tokens_are_drawn() -> None:
    request = make_request(min_tokens=2)
    starts = {9: True, 10: True, 11: False}
    for start, banned in starts.items():
        request.output_ids = [1, 1, 1]
        inputs = round_trip(Step((row(request, 0, start, 1),)), Bucket(1, 1, True))
        assert bool(inputs.sampling.bans_stops[0]) is banned


def test_greedy_and_top_k_one_are_temperature_zero() -> None:
    for params in ({"temperature": 0.0}, {"temperature": 2.0, "top_k": 1}):
        step = Step((row(make_request(**params), 0, 9, 1),))
        assert round_trip(step, Bucket(1, 1, True)).sampling.temperature[0] == 0.0


def test_pages_grow_while_a_request_keeps_its_slot() -> None:
    request, packs, bucket = make_request(), packer(), Bucket(1, 1, True)
    round_trip(Step((row(request, 3, 9, 1),)), bucket, packs)
    request.pages += [1, 5]
    request.num_pending = 1
    inputs = round_trip(Step((row(request, 3, 10, 1, takes_slot=False),)), bucket, packs)
    assert inputs.attention.page_indices[0, :5].tolist() == [4, 2, 7, 1, 5]


def test_a_slot_forgets_the_request_before() -> None:
    old, new, packs, bucket = make_request(top_k=5), make_request(), packer(), Bucket(1, 1, True)
    round_trip(Step((row(old, 3, 9, 1),)), bucket, packs)
    new.pages = [6]
    inputs = round_trip(Step((row(new, 3, 9, 1),)), bucket, packs)
    assert inputs.sampling.top_k[0] == 0
    assert inputs.attention.page_indices[0, 0] == 6


def test_an_idle_step_has_no_live_rows_or_tokens() -> None:
    attention = round_trip(Step(()), Bucket(32, 4, False)).attention
    assert attention.num_seqs.tolist() == [0]
    assert attention.cu_q_lens.tolist() == [0] * 5
    assert attention.kv_lens.tolist() == [0] * 4


def test_a_draw_comes_back_as_it_was() -> None:
    plain, wanted = make_request(), make_request(logprobs=2)
    step = Step((row(plain, 0, 9, 1), row(wanted, 1, 9, 1), Row(plain, 2, 0, 4, False, True)))
    draw = Draw(
        tokens=jnp.asarray([5, 6, 7], jnp.int32),
        finite=jnp.asarray([False, True, True]),
        logprobs=jnp.asarray([0.0, -1.5, 0.0], jnp.float32),
        top_tokens=jnp.asarray([[0] * 3, [8, 6, 9], [0] * 3], jnp.int32),
        top_logprobs=jnp.asarray([[0] * 3, [-0.5, -1.5, -2.0], [0] * 3], jnp.float32),
    )
    first, second, third = unpack_draw(np.asarray(pack_draw(draw)), step)
    assert third is None
    assert first is not None and (first.token_id, first.finite, first.logprob) == (5, False, None)
    assert second is not None and second.logprob is not None
    assert second.logprob.top == ((8, -0.5), (6, -1.5))
    assert second.logprob.logprob == -1.5


def test_a_slot_keeps_counts_prompt_stops_and_bias() -> None:
    request = make_request(logit_bias=((1, 2.5), (2, -100.0)))
    request.output_ids = [3, 3, 4]
    words = slot_words(request, 24, frozenset({9}))
    assert words[0, [3, 4, 5]].tolist() == [2, 1, 0]
    assert words[1].sum() == 10
    assert np.flatnonzero(words[2]).tolist() == [9]
    assert words[3].view(np.float32)[[1, 2]].tolist() == [2.5, -np.inf]


def test_what_is_not_allowed_is_banned_by_its_bias() -> None:
    request = make_request(allowed_token_ids=frozenset({2, 7}), logit_bias=((7, 1.5), (9, 3.0)))
    bias = slot_words(request, 24, frozenset())[3].view(np.float32)
    assert {i: float(x) for i, x in enumerate(bias) if x != -np.inf} == {2: 0.0, 7: 1.5}
    assert request.params.has_bias
