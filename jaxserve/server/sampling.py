"""Which SamplingParams does a request mean? Its own, then the model's, then the API's defaults."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from jaxserve.engine.request import EngineLimits, SamplingParams
from jaxserve.errors import CheckpointError, InvalidRequest
from jaxserve.server.fields import (
    Bool,
    PositiveInt,
    Probability,
    RepetitionPenalty,
    Temperature,
    TopK,
    WireModel,
)
from jaxserve.server.schema import GenerationBody

MIN_TEMPERATURE = 0.01  # below it logits / temperature overflows
BAN_BIAS = -100.0

N = TypeVar("N", int, float)

_TOKEN_ID = re.compile(r"-?[0-9]{1,20}")


class SamplingDefaults(WireModel):
    """What a model's generation_config.json says for what a request leaves out.

    `do_sample: false` without a temperature of its own means greedy; with one, the temperature
    decides, as it does for vLLM.
    """

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    repetition_penalty: RepetitionPenalty | None = None
    max_new_tokens: PositiveInt | None = None
    do_sample: Bool = True


def sampling_defaults(generation_config: Mapping[str, Any]) -> SamplingDefaults:
    """Read the defaults; raises CheckpointError for values that no request could ask for."""
    try:
        return SamplingDefaults.model_validate(dict(generation_config))
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise CheckpointError(
            f"generation_config.json: {'.'.join(map(str, fault['loc']))} = {fault['input']!r}: "
            f"{fault['msg']}; correct it, or start with --generation-config off"
        ) from None


def sampling_params(
    body: GenerationBody,
    *,
    max_tokens: int,
    num_logprobs: int | None,
    defaults: SamplingDefaults,
    limits: EngineLimits,
) -> SamplingParams:
    """The params of every sample of `body`, whose output may have `max_tokens`."""
    if body.min_tokens > max_tokens:
        raise InvalidRequest(
            f"min_tokens is {body.min_tokens}, more than the {max_tokens} tokens of the output",
            param="min_tokens",
        )
    top_p = _given(body.top_p, defaults.top_p, 1.0)
    allowed = body.allowed_token_ids
    top_k = max(_given(body.top_k, defaults.top_k, 0), 0)  # -1 is off too
    return SamplingParams(
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        temperature=_temperature(body.temperature, defaults),
        top_k=1 if top_p == 0 else min(top_k, limits.vocab_size),
        top_p=top_p or 1.0,
        min_p=_given(body.min_p, defaults.min_p, 0.0),
        typical_p=body.typical_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=_given(body.repetition_penalty, defaults.repetition_penalty, 1.0),
        logit_bias=_logit_bias(body.logit_bias),
        allowed_token_ids=None if allowed is None else frozenset(allowed),
        seed=None if body.seed in (None, -1) else body.seed,
        logprobs=num_logprobs,
        prompt_logprobs=body.num_prompt_logprobs,
        stop_token_ids=frozenset(body.stop_token_ids),
        ignore_eos=body.ignore_eos,
    )


def _temperature(asked: float | None, defaults: SamplingDefaults) -> float:
    by_model = defaults.temperature
    if by_model is None and not defaults.do_sample:
        by_model = 0.0
    temperature = _given(asked, by_model, 1.0)
    return max(temperature, MIN_TEMPERATURE) if temperature > 0 else 0.0


def _logit_bias(given: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    bad = [key for key in given if not _TOKEN_ID.fullmatch(key)]
    if bad:
        named = ", ".join(repr(key[:40]) for key in bad[:8])
        raise InvalidRequest(f"logit_bias: keys must be token ids, got {named}", param="logit_bias")
    return tuple((int(key), _bias(value)) for key, value in given.items())


def _bias(value: float) -> float:
    return -math.inf if value <= BAN_BIAS else min(value, -BAN_BIAS)


def _given(asked: N | None, by_model: N | None, by_api: N) -> N:
    if asked is not None:
        return asked
    return by_api if by_model is None else by_model
