"""From what a request, the model and the API say to what the engine is told."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.engine.request import SamplingParams
from jaxserve.errors import CheckpointError, InvalidRequest
from jaxserve.server.sampling import SamplingDefaults, sampling_defaults, sampling_params
from jaxserve.server.schema import parse_completion
from tests.text_fakes import limits


def params(*, model: dict[str, Any] | None = None, **body: Any) -> SamplingParams:
    return sampling_params(
        parse_completion({"prompt": "a", **body}),
        max_tokens=10,
        num_logprobs=None,
        defaults=sampling_defaults(model or {}),
        limits=limits(),
    )


def test_the_apis_defaults_are_plain_sampling() -> None:
    assert params() == SamplingParams(max_tokens=10)


def test_the_models_defaults_fill_what_the_request_leaves_out() -> None:
    model = {
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "eos_token_id": [1, 2],
        "transformers_version": "5",
        "do_sample": True,
    }
    got = params(model=model, top_k=0, temperature=1)
    assert (got.temperature, got.top_p, got.top_k) == (1.0, 0.9, 0)
    assert (got.min_p, got.repetition_penalty) == (0.1, 1.1)


@pytest.mark.parametrize(
    ("model", "body", "temperature"),
    [
        ({"do_sample": False}, {}, 0.0),
        ({"do_sample": False, "temperature": 0.7}, {}, 0.7),
        ({"do_sample": False}, {"temperature": 0.5}, 0.5),
        ({"do_sample": None, "temperature": None}, {}, 1.0),
        ({}, {"temperature": 0}, 0.0),
        ({}, {"temperature": 1e-9}, 0.01),
        ({}, {"temperature": 2}, 2.0),
    ],
)
def test_temperature(model: dict[str, Any], body: dict[str, Any], temperature: float) -> None:
    assert params(model=model, **body).temperature == temperature


def test_top_p_0_takes_the_top_token_only() -> None:
    got = params(top_p=0, top_k=5)
    assert (got.top_p, got.top_k, got.greedy) == (1.0, 1, True)


@pytest.mark.parametrize(("top_k", "told"), [(-1, 0), (0, 0), (5, 5), (10**9, 259)])
def test_top_k_is_off_or_at_most_the_vocabulary(top_k: int, told: int) -> None:
    assert params(top_k=top_k).top_k == told


@pytest.mark.parametrize(
    ("seed", "told"), [(None, None), (-1, None), (0, 0), (2**64 - 1, 2**64 - 1), (-(2**63),) * 2]
)
def test_seed(seed: int | None, told: int | None) -> None:
    assert params(seed=seed).seed == told


@pytest.mark.parametrize(
    ("given", "told"), [(-100, float("-inf")), (-101, float("-inf")), (-99.5, -99.5), (1e9, 100.0)]
)
def test_bias_is_clamped_and_the_lowest_bans(given: float, told: float) -> None:
    assert params(logit_bias={"7": given}).logit_bias == ((7, told),)


@pytest.mark.parametrize("key", ["", "x", "1.0", "1_0", " 1", "+1", "٣"])
def test_bias_of_what_is_no_token_id_is_refused_by_name(key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        params(logit_bias={key: 1, "5": 1})
    assert caught.value.param == "logit_bias"
    assert repr(key) in caught.value.message


def test_more_tokens_at_least_than_at_most_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        params(min_tokens=11)
    assert caught.value.param == "min_tokens"
    assert params(min_tokens=10).min_tokens == 10


@pytest.mark.parametrize("model", [{"top_k": "many"}, {"top_p": 2}, {"max_new_tokens": 0}])
def test_model_defaults_no_request_could_ask_for_are_refused(model: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="generation-config off"):
        sampling_defaults(model)


def test_empty_model_defaults_say_nothing() -> None:
    assert sampling_defaults({}) == SamplingDefaults()
