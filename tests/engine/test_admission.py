from __future__ import annotations

import pytest

from jaxserve.engine.admission import Admission
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


def test_queue_holds_what_waits_beside_what_runs() -> None:
    DOOR.check_room("new", {str(index) for index in range(4)})
    with pytest.raises(EngineBusy, match=r"queue is full: 5 .* at most 2 .* 3"):
        DOOR.check_room("new", {str(index) for index in range(5)})


def test_id_in_use_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'a' is still unfinished"):
        DOOR.check_room("a", {"a"})
