from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jaxserve.engine.admission import Admission
from jaxserve.engine.backlog import Backlog
from jaxserve.engine.request import SamplingParams
from jaxserve.errors import ContextLengthExceeded, EngineBusy, InvalidRequest
from tests.engine.fake_driver import limits, request

DOOR = Admission(
    limits=limits(max_model_len=40, max_queued_requests=2),
    max_batch_size=3,
    num_pages=8,
    page_size=4,
)


def test_request_that_exactly_fits_passes() -> None:
    DOOR.check(request("a", [1] * 25, SamplingParams(max_tokens=8)))


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        DOOR.check(request("a", []))


@pytest.mark.parametrize("token_id", [-1, 97, 2**31, 2**70])
def test_token_outside_the_vocabulary_is_refused_by_value(token_id: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"{token_id} .* 0 to 96") as refused:
        DOOR.check(request("a", [1, token_id, 2]))
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        (SamplingParams(max_tokens=0), "max_tokens"),
        (SamplingParams(max_tokens=1, logprobs=6), "logprobs"),
        (SamplingParams(max_tokens=1, logprobs=-1), "logprobs"),
        (SamplingParams(max_tokens=1, prompt_logprobs=6), "prompt_logprobs"),
        (SamplingParams(max_tokens=1, allowed_token_ids=frozenset({97})), "allowed_token_ids"),
        (SamplingParams(max_tokens=1, logit_bias=((97, 1.0),)), "logit_bias"),
        (SamplingParams(max_tokens=1, stop_token_ids=frozenset({-5})), "stop_token_ids"),
    ],
)
def test_params_the_device_cannot_take_are_refused(params: SamplingParams, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        DOOR.check(request("a", [1], params))
    assert refused.value.param == param


def test_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"context length is 40 tokens.* 40, which"):
        DOOR.check(request("a", [1] * 40, SamplingParams(max_tokens=1)))


def test_sum_that_passes_the_context_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"30 .* 11 .* 41; lower max_tokens to 10"):
        DOOR.check(request("a", [1] * 30, SamplingParams(max_tokens=11)))


def test_more_pages_than_there_are_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"8 pages of 4.* need 9 pages"):
        DOOR.check(request("a", [1] * 25, SamplingParams(max_tokens=9)))


NEW = request("new", [1] * 4)


def backlog(count: int) -> Backlog:
    unfinished = Backlog()
    for index in range(count):
        unfinished.add(request(str(index), [1] * 10))
    return unfinished


def door(**changes: Any) -> Admission:
    return replace(DOOR, limits=replace(DOOR.limits, **changes))


def test_queue_holds_what_waits_beside_what_runs() -> None:
    DOOR.check_room(NEW, backlog(4))
    with pytest.raises(EngineBusy, match=r"queue is full: 5 .* at most 2 .* 3"):
        DOOR.check_room(NEW, backlog(5))


def test_requests_at_once_have_a_limit_of_their_own() -> None:
    door(max_concurrent_requests=2).check_room(NEW, backlog(1))
    with pytest.raises(EngineBusy, match="full: 2 requests run or wait"):
        door(max_concurrent_requests=2).check_room(NEW, backlog(2))


def test_prompts_at_once_have_a_limit_in_tokens() -> None:
    door(max_concurrent_tokens=24).check_room(NEW, backlog(2))
    with pytest.raises(EngineBusy, match=r"have 20 tokens, .* this one's 4 .* more than 23"):
        door(max_concurrent_tokens=23).check_room(NEW, backlog(2))
    door(max_concurrent_tokens=1).check_room(NEW, backlog(0))  # alone it comes in


def test_a_prompt_has_a_limit_of_its_own() -> None:
    door(max_input_tokens=4).check(NEW)
    with pytest.raises(ContextLengthExceeded, match="at most 3 tokens, and the prompt has 4"):
        door(max_input_tokens=3).check(NEW)


def test_id_in_use_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'0' is still unfinished"):
        DOOR.check_room(request("0", [1]), backlog(1))
