from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.engine.masks import MaskMakers, lacks_mask, mask_words, next_mask, num_mask_words
from jaxserve.engine.request import FinishReason, Request, SamplingParams
from tests.engine.fake_driver import EOS, request
from tests.fakes import FakeConstraint

EOS_IDS = frozenset({EOS})


def constrained(allowed: set[int], **params: Any) -> Request:
    constraint = FakeConstraint(lambda output: allowed)
    return request("a", [1], SamplingParams(max_tokens=9, **params), constraint=constraint)


def ids(mask: bytes) -> set[int]:
    return {
        *map(int, np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")))
    }


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {EOS, 5, 7, 40}),
        ({"logit_bias": ((5, -math.inf), (7, -3.0), (50, -math.inf))}, {EOS, 7, 40}),
        ({"ignore_eos": True}, {5, 7, 40}),
        ({"allowed_token_ids": frozenset({7, 40, 41})}, {7, 40}),
        ({"allowed_token_ids": frozenset({50})}, {EOS, 5, 7, 40}),
        ({"ignore_eos": True, "stop_token_ids": frozenset({EOS})}, {EOS, 5, 7, 40}),
        ({"min_tokens": 1, "stop_token_ids": frozenset({7})}, {5, 40}),
        ({"min_tokens": 0, "stop_token_ids": frozenset({7})}, {EOS, 5, 7, 40}),
    ],
)
def test_what_a_request_bans_is_taken_out(params: dict[str, Any], expected: set[int]) -> None:
    assert ids(next_mask(constrained({EOS, 5, 7, 40}, **params), EOS_IDS)) == expected


def test_a_ban_gives_way_when_nothing_else_is_allowed() -> None:
    asked = constrained({EOS, 5}, min_tokens=3, logit_bias=((5, -math.inf),))
    assert ids(next_mask(asked, EOS_IDS)) == {EOS, 5}


def test_min_tokens_counts_output_only() -> None:
    asked = constrained({EOS, 5}, min_tokens=2)
    asked.output_ids = [5, 5]
    assert ids(next_mask(asked, EOS_IDS)) == {EOS, 5}


def test_masks_become_words_and_ids_past_their_end_are_not_allowed() -> None:
    words = mask_words([b"\x01\x00\x00\x80\x02", b"\xff" * 20], num_mask_words(65))
    assert words.tolist() == [[0x80000001, 2, 0], [2**32 - 1] * 3]


def test_a_mask_is_made_once_its_token_is_known() -> None:
    asked = constrained({5})
    assert lacks_mask(asked)
    asked.num_pending = 1
    assert not lacks_mask(asked)
    asked.num_pending, asked.finish_reason = 0, FinishReason.ABORT
    assert not lacks_mask(asked)
    assert not lacks_mask(request("b", [1]))


def test_threads_make_masks_and_tell_of_failures() -> None:
    makers = MaskMakers(EOS_IDS)
    makers.start()
    try:
        good, bad = constrained({5, 7}), constrained({5})
        bad.constraint = FakeConstraint(lambda output: {5}, fail_after=0)
        makers.begin()
        makers.ask([bad, good])
        failures: list[tuple[str, str]] = []
        while good.mask is None or not failures:
            makers.wait()
            makers.begin()
            failures += makers.failures()
        assert ids(good.mask) == {5, 7}
        assert failures == [("a", "the grammar is too complex")]
        assert makers.failures() == []
    finally:
        makers.close()


def test_a_bug_in_a_constraint_fails_its_request_only() -> None:
    class Broken(FakeConstraint):
        def next_mask(self) -> bytes:
            raise ZeroDivisionError("oops")

    makers = MaskMakers(EOS_IDS)
    makers.start()
    try:
        bad, good = constrained({5}), constrained({5})
        bad.constraint = Broken(lambda output: {5})
        makers.begin()
        makers.ask([bad] * 9 + [good])
        waiter = threading.Event()
        while good.mask is None:
            assert not waiter.wait(0.001)
        assert makers.failures()[0] == ("a", "ZeroDivisionError: oops")
    finally:
        makers.close()


def test_a_token_that_is_not_allowed_fails() -> None:
    with pytest.raises(ConstraintFailed, match="6 is not allowed"):
        FakeConstraint(lambda output: {5}).advance(6)


def test_settling_waits_for_every_mask_but_not_for_ever() -> None:
    released = threading.Event()

    class Slow(FakeConstraint):
        def next_mask(self) -> bytes:
            assert released.wait(10)
            return super().next_mask()

    makers = MaskMakers(EOS_IDS)
    makers.start()
    try:
        slow, others = constrained({5}), [constrained({5}) for _ in range(5)]
        slow.constraint = Slow(lambda output: {5})
        makers.settle(0.0)
        makers.ask([slow, *others])
        makers.settle(0.001)
        assert slow.mask is None
        released.set()
        makers.settle(10)
        assert all(asked.mask is not None for asked in (slow, *others))
    finally:
        makers.close()
