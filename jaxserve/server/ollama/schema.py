"""What does a valid request to Ollama's own generation routes look like?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from jaxserve.server.fields import (
    Bool,
    Float,
    Int,
    Penalty,
    Probability,
    RepetitionPenalty,
    Seed,
    Str,
    TopK,
    WireModel,
    wrong_type,
    wrong_value,
)
from jaxserve.server.forms import Form, OllamaFormat
from jaxserve.server.ignored import unread
from jaxserve.server.messages import ChatMessage, Tool, distinct
from jaxserve.server.parsing import parse_body, unsupported, wrong
from jaxserve.server.refusals import Refusal, is_empty, number, refuse_unsupported
from jaxserve.server.schema import Alternatives, GenerationBody, Stops

MAX_TEMPERATURE = 1000.0  # hotter is no different, and in float32 in the end not a number

EFFORTS = ("low", "medium", "high")

REFUSED = (
    Refusal("images", "this model reads text only", is_empty),
    Refusal("suffix", "text is only continued: put everything into the prompt", is_empty),
    Refusal("template", "the model's own template is used; raw sends a prompt as it is", is_empty),
)  # fmt: skip

REFUSED_OPTIONS = (Refusal("mirostat", "leave it at 0, or use top_p or min_p", number(0)),)


def _length(value: int) -> int:
    if value == 0:
        raise wrong_value("must be at least 1, or -1 or -2 for all that fits")
    return value


def _think(value: Any) -> bool | str:
    if isinstance(value, bool) or value in EFFORTS:
        return value
    raise wrong_type(f"true, false, {', '.join(EFFORTS[:-1])} or {EFFORTS[-1]}")


class Options(WireModel):
    """The `options` that are honoured; None where the model decides."""

    num_predict: Annotated[Int, Field(ge=-2), AfterValidator(_length)] | None = None
    temperature: Annotated[Float, Field(ge=0)] | None = None
    top_k: TopK | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    repeat_penalty: RepetitionPenalty | None = None
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    typical_p: Annotated[Float, Field(gt=0, le=1)] = 1.0
    seed: Seed | None = None
    stop: Stops = ()


class OllamaBody(WireModel):
    """What generate and chat share."""

    model: Str = ""
    stream: Bool = True
    options: Options = Options()
    format: OllamaFormat = None
    think: Annotated[Any, BeforeValidator(_think)] = None  # a bool or an effort
    logprobs: Bool = False
    top_logprobs: Alternatives = 0

    def check(self) -> None:
        if self.top_logprobs and not self.logprobs:
            raise wrong("top_logprobs", "needs logprobs to be true")

    @property
    def form(self) -> Form | None:
        return Form("format", self.format) if self.format else None

    def as_openai(self) -> GenerationBody:
        """The same wish in the words that all dialects share."""
        o = self.options
        hottest = MAX_TEMPERATURE
        return GenerationBody.model_construct(
            model=self.model,
            temperature=None if o.temperature is None else min(o.temperature, hottest),
            top_k=o.top_k,
            top_p=o.top_p,
            min_p=o.min_p,
            typical_p=o.typical_p,
            repetition_penalty=o.repeat_penalty,
            presence_penalty=o.presence_penalty,
            frequency_penalty=o.frequency_penalty,
            seed=o.seed,
            stop=o.stop,
        )

    @property
    def template_kwargs(self) -> dict[str, Any]:
        """What the templates call `think`, and the effort when it is one."""
        if self.think is None:
            return {}
        effort = {"reasoning_effort": self.think} if isinstance(self.think, str) else {}
        return {"enable_thinking": bool(self.think), "thinking": bool(self.think), **effort}


class OllamaGenerateBody(OllamaBody):
    """The body of POST /api/generate; an empty prompt asks that the model be loaded."""

    prompt: Str = ""
    system: Str = ""
    raw: Bool = False
    context: Annotated[list[Int], FailFast()] = Field(default_factory=list)

    def check(self) -> None:
        super().check()
        if self.raw and self.system:
            raise unsupported("system", "can not be given with raw: put it into the prompt")


class OllamaChatBody(OllamaBody):
    """The body of POST /api/chat; no messages ask that the model be loaded."""

    messages: Annotated[list[ChatMessage], FailFast()] = Field(default_factory=list)
    tools: Annotated[list[Tool], FailFast(), AfterValidator(distinct)] = Field(default_factory=list)

    def openai_messages(self) -> list[dict[str, Any]]:
        return [_openai_message(message) for message in self.messages]


Body = TypeVar("Body", bound=OllamaBody)


def parse_ollama(raw: Mapping[str, Any], model: type[Body]) -> Body:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    if isinstance(raw.get("options"), dict):
        refuse_unsupported(raw["options"], REFUSED_OPTIONS)
    body = parse_body(raw, model, REFUSED)
    if isinstance(body, OllamaChatBody):
        _refuse_images(body.messages)
    return body


def ignored_options(raw: Mapping[str, Any], body: OllamaBody) -> Iterator[str]:
    """The names of what was accepted and is not applied."""
    judged = type(body).model_fields.keys() | {refusal.field for refusal in REFUSED}
    yield from unread(raw, judged)
    judged = Options.model_fields.keys() | {refusal.field for refusal in REFUSED_OPTIONS}
    yield from unread(raw.get("options") or {}, judged, under="options.")


def _refuse_images(messages: list[ChatMessage]) -> None:
    for index, message in enumerate(messages):
        if (message.model_extra or {}).get("images"):
            raise unsupported(f"messages[{index}].images", "can not be read by this model")


def _openai_message(message: ChatMessage) -> dict[str, Any]:
    """As templates know it: a tool's answer has a `name`, thinking is called reasoning."""
    plain = message.model_dump(exclude_unset=True)
    plain.pop("images", None)
    for ours, theirs in (("name", "tool_name"), ("reasoning", "thinking")):
        if theirs in plain:
            plain.setdefault(ours, plain.pop(theirs))
    return plain
