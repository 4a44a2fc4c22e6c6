"""Which parameters does this server not honour? One table: field, values that pass, way out.

What would change the output and can not be done is refused by name; what changes nothing passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxserve.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Refusal:
    """`passes` tells the values that ask for nothing; all others are refused."""

    field: str
    way_out: str
    passes: Callable[[Any], bool] = lambda value: False
    code: str = "unsupported_parameter"


def one_of(*values: object) -> Callable[[Any], bool]:
    return lambda value: any(value == other and type(value) is type(other) for other in values)


def number(neutral: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and value == neutral


def is_empty(value: object) -> bool:
    return value == [] or value == {} or value == ""


_BEAM = "beam search is not offered: use n with a temperature above 0"
_TOOLS = "use tools and tool_choice"
_IDS = "use logit_bias to favour or ban single tokens"

COMMON = (
    Refusal("use_beam_search", _BEAM, one_of(False)),
    Refusal("length_penalty", _BEAM, number(1)),
    Refusal("early_stopping", _BEAM, one_of(False)),
    Refusal("bad_words", _IDS, is_empty),
    Refusal("logprob_token_ids", "use top_logprobs or logprobs", is_empty),
    Refusal("repetition_detection", "use repetition_penalty or frequency_penalty"),
    Refusal("return_prompt_text", "use return_token_ids for the prompt's ids", one_of(False)),
)

CHAT = (
    *COMMON,
    Refusal("functions", _TOOLS, is_empty),
    Refusal("function_call", _TOOLS, one_of("none", "auto")),
    Refusal("modalities", "only text is produced", one_of(["text"], []), "unsupported_value"),
    Refusal("audio", "only text is produced"),
    Refusal("thinking_token_budget", "use max_completion_tokens", number(-1)),
)

COMPLETIONS = (
    *COMMON,
    Refusal("suffix", "text is only continued: put everything into the prompt", one_of("")),
    Refusal("prompt_embeds", "send the prompt as text or token ids", is_empty),
)


def refuse_unsupported(body: Mapping[str, Any], table: tuple[Refusal, ...]) -> None:
    """Raise InvalidRequest for the first field of `body` that the table refuses."""
    for refusal in table:
        value = body.get(refusal.field)
        if value is not None and not refusal.passes(value):
            raise InvalidRequest(
                f"{refusal.field} is not supported here: {refusal.way_out}",
                param=refusal.field,
                code=refusal.code,
            )
