"""What does a valid request look like? The bodies of the two OpenAI generation routes.

A body that parses here has the right types and is in range by itself; what depends on the model
(token ids, lengths, templates) is checked later, still before the first byte of the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from jaxserve.server.fields import (
    Bool,
    Float,
    Int,
    Object,
    Penalty,
    PositiveInt,
    Probability,
    RepetitionPenalty,
    Seed,
    Str,
    Temperature,
    TopK,
    WireModel,
    integers,
    is_token_ids,
    wrong_type,
    wrong_value,
)
from jaxserve.server.forms import FormFields
from jaxserve.server.messages import ChatMessage, Tool, distinct
from jaxserve.server.parsing import parse_body, wrong
from jaxserve.server.refusals import CHAT, COMPLETIONS
from jaxserve.server.tool_choice import AUTO, ToolChoice, read_tool_choice

MAX_STOPS = 64
MAX_PROMPTS = 1024
MAX_ALTERNATIVES = 20
MAX_SAMPLES = 128
MAX_BEST_OF = 20
MAX_TEMPLATE_CHARS = 100_000

Prompt = str | list[int]
PromptInput = str | list[str] | list[int] | list[list[int]]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Template = Annotated[Str, Field(min_length=1, max_length=MAX_TEMPLATE_CHARS)]
Alternatives = Annotated[Int, Field(ge=0, le=MAX_ALTERNATIVES)]


class StreamOptions(WireModel):
    include_usage: Bool = False
    continuous_usage_stats: Bool = False


def stop_strings(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong_type("a string or a list of strings")
    if "" in stops:
        raise wrong_value("must not hold an empty string")
    if len(stops) > MAX_STOPS:
        raise wrong_value(f"must hold at most {MAX_STOPS} strings")
    return tuple(stops)


Stops = Annotated[
    tuple[str, ...], BeforeValidator(stop_strings, json_schema_input_type=str | list[str])
]


def prompts(value: Any, *, most: int = MAX_PROMPTS) -> list[Prompt]:
    """A text, token ids, or a list of either, as a list of at most so many."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise wrong_type("a string, a list of strings, token ids, or a list of those")
    if not value:
        raise wrong_value("must not be empty")
    if is_token_ids(value):
        return [integers(value)]
    if not (all(isinstance(item, str) for item in value) or all(map(is_token_ids, value))):
        raise wrong_type("all strings, all token ids, or all lists of token ids")
    if [] in value:
        raise wrong_value("must not hold an empty list of token ids")
    if len(value) > most:
        raise wrong_value(f"must hold at most {most} items")
    return [item if isinstance(item, str) else integers(item) for item in value]


class GenerationBody(FormFields):
    """What both routes share; None where the default comes from elsewhere."""

    model: Str = ""
    stream: Bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[PositiveInt, Field(le=MAX_SAMPLES)] = 1
    best_of: Annotated[PositiveInt, Field(le=MAX_BEST_OF)] | None = None
    max_tokens: Annotated[Int, Field(ge=0)] | None = None
    min_tokens: Annotated[Int, Field(ge=0)] = 0

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    typical_p: Annotated[Float, Field(gt=0, le=1)] = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: dict[str, Float] = Field(default_factory=dict)
    allowed_token_ids: Annotated[list[Int], Field(min_length=1)] | None = None
    seed: Seed | None = None

    stop: Stops = ()
    stop_token_ids: Annotated[list[Int], FailFast()] = Field(default_factory=list)
    include_stop_str_in_output: Bool = False
    ignore_eos: Bool = False
    skip_special_tokens: Bool = True
    spaces_between_special_tokens: Bool = True
    add_special_tokens: Bool | None = None
    truncate_prompt_tokens: Annotated[Int, Field(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] = "left"

    prompt_logprobs: Alternatives | None = None
    return_token_ids: Bool = False
    return_tokens_as_token_ids: Bool = False
    cache_salt: Annotated[Str, Field(min_length=1)] | None = None
    request_id: Annotated[Str, Field(pattern=r"^[\x21-\x7e]{1,128}$")] | None = None

    @property
    def num_samples(self) -> int:
        """How many sequences to draw, of which the `n` likeliest are told."""
        return self.best_of or self.n

    @property
    def only_scores(self) -> bool:
        """Whether the prompt is all that is asked about."""
        return False

    @property
    def num_prompt_logprobs(self) -> int | None:
        """How many alternatives to score for each token of the prompt; None: no scores."""
        return self.prompt_logprobs

    def check(self) -> None:
        super().check()
        if self.best_of is not None and self.best_of < self.n:
            raise wrong("best_of", f"must be at least n, which is {self.n}; got {self.best_of}")
        if self.num_samples > self.n and self.stream:
            raise wrong("best_of", "must be n when streaming: the best is known at the end")
        if self.max_tokens == 0 and not self.only_scores:
            raise wrong("max_tokens", "must be at least 1")
        if self.truncate_prompt_tokens == 0:
            raise wrong("truncate_prompt_tokens", "must be at least 1, or -1 for what fits; got 0")
        if self.prompt_logprobs is not None and self.stream:
            raise wrong("prompt_logprobs", "can not be streamed; set stream to false")


class ChatBody(GenerationBody):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], FailFast(), Field(min_length=1)]
    max_completion_tokens: PositiveInt | None = None
    logprobs: Bool = False
    top_logprobs: Alternatives = 0

    tools: Annotated[list[Tool], FailFast(), AfterValidator(distinct)] = Field(default_factory=list)
    tool_choice: Annotated[
        ToolChoice, BeforeValidator(read_tool_choice, json_schema_input_type=str | dict[str, Any])
    ] = AUTO
    parallel_tool_calls: Bool = True

    add_generation_prompt: Bool | None = None
    continue_final_message: Bool = False
    echo: Bool = False  # of a final message that is continued
    chat_template: Template | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
    documents: Annotated[list[Object], FailFast()] = Field(default_factory=list)
    tool_prompt: Str | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: Bool = True

    @property
    def callable_tools(self) -> list[Tool]:
        """The tools whose calls are looked for in the output."""
        return self.tool_choice.among(self.tools)

    @property
    def parallel_calls(self) -> bool:
        """Whether the answer may have several calls; a tool that is named is called once."""
        return self.parallel_tool_calls and self.tool_choice.mode != "named"

    def check(self) -> None:
        super().check()
        if self.form is not None and self.tool_choice.is_forced:
            raise wrong(self.form.param, "can not go with a tool_choice that forces calls")
        if self.top_logprobs and not self.logprobs:
            raise wrong("top_logprobs", "needs logprobs to be true")
        if self.add_generation_prompt and self.continue_final_message:
            raise wrong("add_generation_prompt", "can not be true with continue_final_message")
        if self.echo and not self.continue_final_message:
            raise wrong("echo", "needs continue_final_message: only that message is told again")
        self.tool_choice.check(self.tools)


class CompletionBody(GenerationBody):
    """The body of POST /v1/completions; `prompt` is a list in every case."""

    prompt: Annotated[list[Prompt], BeforeValidator(prompts, json_schema_input_type=PromptInput)]
    logprobs: Alternatives | None = None
    echo: Bool = False

    @property
    def only_scores(self) -> bool:
        return self.echo and self.max_tokens == 0

    @property
    def num_prompt_logprobs(self) -> int | None:
        asked = (self.prompt_logprobs, self.logprobs if self.echo else None)
        return max((number for number in asked if number is not None), default=None)


def parse_chat(body: dict[str, Any]) -> ChatBody:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    return parse_body(body, ChatBody, CHAT)


def parse_completion(body: dict[str, Any]) -> CompletionBody:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    return parse_body(body, CompletionBody, COMPLETIONS)
