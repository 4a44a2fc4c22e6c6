"""What does a valid request to TGI's own generation routes look like?

Ranges and defaults are TGI's, where they differ from OpenAI's: whether `parameters` is there at
all decides if tokens are drawn or picked greedily.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from jaxserve.config import TgiConfig
from jaxserve.server.fields import (
    Bool,
    Float,
    Int,
    Penalty,
    PositiveInt,
    RepetitionPenalty,
    Str,
    TopK,
    WireModel,
    wrong_value,
)
from jaxserve.server.forms import Form, TgiGrammar
from jaxserve.server.ignored import unread
from jaxserve.server.parsing import parse_body, unsupported, wrong
from jaxserve.server.schema import GenerationBody, Stops

MAX_TEMPERATURE = 1000.0  # hotter is no different, and in float32 in the end not a number


def _positive(value: float) -> float:
    if value <= 0:
        raise wrong_value("must be strictly positive; for greedy output set do_sample to false")
    return value


class Parameters(WireModel):
    """The `parameters` of a request; None where leaving it out means something of its own."""

    best_of: PositiveInt = 1
    temperature: Annotated[Float, AfterValidator(_positive)] = 1.0
    repetition_penalty: RepetitionPenalty = 1.0
    frequency_penalty: Penalty = 0.0
    top_k: TopK = 0
    top_p: Annotated[Float, Field(gt=0, le=1)] = 1.0
    typical_p: Annotated[Float, Field(gt=0, le=1)] = 1.0
    do_sample: Bool = False
    max_new_tokens: PositiveInt | None = None
    return_full_text: Bool | None = None
    stop: Stops = ()
    truncate: PositiveInt | None = None
    details: Bool = False
    decoder_input_details: Bool = False
    seed: Annotated[Int, Field(ge=0, le=2**64 - 1)] | None = None
    grammar: TgiGrammar = None
    top_n_tokens: Annotated[Int, Field(ge=0)] = 0

    adapter_id: Str = ""
    watermark: Bool = False  # checked, named in x-jaxserve-ignored, and not applied

    @property
    def samples(self) -> bool:
        """Asking for a way to draw tokens is asking to draw them."""
        filters = self.top_k > 0 or self.top_p < 1 or self.typical_p < 1
        return self.do_sample or self.temperature != 1 or filters

    @property
    def form(self) -> Form | None:
        return Form("parameters.grammar", self.grammar) if self.grammar else None

    def check(self) -> None:
        if self.best_of == 1:
            return
        if not self.samples:
            raise wrong("parameters.best_of", "above 1 needs sampling: set do_sample to true")
        if self.seed is not None:
            raise wrong("parameters.seed", "must not be set when best_of is above 1")


class GenerateBody(WireModel):
    """A request to `/`, `/generate` or `/generate_stream`."""

    inputs: Annotated[Str, Field(min_length=1)]
    parameters: Parameters = Parameters(do_sample=True)
    stream: Bool = False  # read by `/` and `/invocations`

    def check(self) -> None:
        self.parameters.check()

    def as_openai(self) -> GenerationBody:
        """The same wish in the words that all dialects share; nothing is left to the model."""
        p = self.parameters
        return GenerationBody.model_construct(
            model=p.adapter_id,
            n=p.best_of,
            temperature=min(p.temperature, MAX_TEMPERATURE) if p.samples else 0.0,
            top_k=p.top_k,
            top_p=p.top_p,
            min_p=0.0,
            typical_p=p.typical_p,
            prompt_logprobs=0 if p.decoder_input_details else None,
            repetition_penalty=p.repetition_penalty,
            frequency_penalty=p.frequency_penalty,
            seed=p.seed,
            stop=p.stop,
            include_stop_str_in_output=True,
        )


class TokenizeBody(WireModel):
    """TGI's request to `/tokenize`."""

    inputs: Annotated[Str, Field(min_length=1)]
    parameters: Parameters = Parameters()


def parse_generate(raw: Mapping[str, Any], limits: TgiConfig, *, stream: bool) -> GenerateBody:
    """The typed request; raises InvalidRequest with the path of the first field at fault.

    `stream` says whether the answer will be streamed, which the path may decide.
    """
    body = parse_body(raw, GenerateBody)
    _check_limits(body.parameters, limits)
    if stream and body.parameters.decoder_input_details:
        raise unsupported("parameters.decoder_input_details", "can not be streamed")
    if stream and body.parameters.best_of > 1:
        raise unsupported("parameters.best_of", "above 1 can not be streamed")
    return body


def _check_limits(parameters: Parameters, limits: TgiConfig) -> None:
    asked = {
        "best_of": (parameters.best_of, limits.max_best_of),
        "stop": (len(parameters.stop), limits.max_stop_sequences),
        "top_n_tokens": (parameters.top_n_tokens, limits.max_top_n_tokens),
    }
    for name, (number, most) in asked.items():
        if number > most:
            what = f"has {number} strings" if name == "stop" else f"is {number}"
            raise wrong(f"parameters.{name}", f"{what}; this server takes at most {most}")


def parse_tokenize(raw: Mapping[str, Any]) -> TokenizeBody:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    return parse_body(raw, TokenizeBody)


def ignored_parameters(raw: Mapping[str, Any], body: GenerateBody) -> Iterator[str]:
    """The names of what was accepted and is not applied."""
    yield from unread(raw, GenerateBody.model_fields)
    given = raw.get("parameters") or {}
    yield from unread(given, Parameters.model_fields, under="parameters.")
    if body.parameters.watermark:
        yield "parameters.watermark"
