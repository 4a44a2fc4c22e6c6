"""What happens to every request for vectors or labels, whichever dialect it speaks?

Encode, run as long as the client waits, count. A client that leaves ends its texts at any point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from starlette.requests import Request

from jaxserve.errors import InvalidRequest
from jaxserve.pooling import TextPooler, Unanswered, Vector
from jaxserve.server.disconnect import unless_gone
from jaxserve.server.errors import BrokenOff, Draining
from jaxserve.server.fields import Bool, Int, Str, WireModel, wrong_type, wrong_value
from jaxserve.server.ignored import naming_header, unread
from jaxserve.server.parsing import unsupported, wrong
from jaxserve.server.request_id import request_id_of
from jaxserve.server.schema import Prompt, PromptInput, prompts
from jaxserve.server.serving import refuse_if_strict
from jaxserve.server.state import BEGAN_S, state_of
from jaxserve.text.sequences import Cut, Sequence

logger = logging.getLogger(__name__)

MAX_INPUTS = 2048  # as OpenAI

Inputs = Annotated[
    list[Prompt],
    BeforeValidator(partial(prompts, most=MAX_INPUTS), json_schema_input_type=PromptInput),
]


def texts(value: Any) -> list[str]:
    """A text, or a list of some, as a list."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise wrong_type("a string or a list of strings")
    if not 1 <= len(found) <= MAX_INPUTS:
        raise wrong_value(f"must hold 1 to {MAX_INPUTS} texts")
    return found


Texts = Annotated[list[str], BeforeValidator(texts, json_schema_input_type=str | list[str])]


class PooledBody(WireModel):
    """What requests for vectors and labels share. Without truncation what is too long is refused;
    truncate_prompt_tokens -1 cuts to what the model reads."""

    model: Str = ""
    truncate_prompt_tokens: Annotated[Int, Field(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] = "right"

    def check(self) -> None:
        if self.truncate_prompt_tokens == 0:
            raise wrong("truncate_prompt_tokens", "must be at least 1, or -1 for all that fit")

    def cut(self, pooler: TextPooler) -> Cut | None:
        asked = self.truncate_prompt_tokens
        if asked is None:
            return None
        if asked > pooler.limits.max_model_len:
            limit = pooler.limits.max_model_len
            raise wrong("truncate_prompt_tokens", f"is {asked}; this model reads {limit} at most")
        return pooler.cut_to(None if asked == -1 else asked, self.truncation_side)


class InputBody(PooledBody):
    """`input` is a list in every case."""

    input: Inputs
    add_special_tokens: Bool = True
    prompt_name: Str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model gave for each text, and how many tokens it read."""

    vectors: list[Vector]
    num_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.num_tokens, "total_tokens": self.num_tokens}


async def encode_inputs(pooler: TextPooler, body: InputBody) -> list[Sequence]:
    """What the model reads for each input, prompts and cuts applied."""
    cut = body.cut(pooler)
    sequences = []
    for index, text in enumerate(body.input):
        await asyncio.sleep(0)  # short texts are encoded right here; let others go between them
        sequences.append(
            await pooler.encode(
                text,
                cut=cut,
                prompt_name=body.prompt_name,
                add_special_tokens=body.add_special_tokens,
                param="input" if len(body.input) == 1 else f"input[{index}]",
            )
        )
    return sequences


async def run(request: Request, sequences: Many[Sequence]) -> Answers:
    """The model's answers, unless the client leaves first; raises what `TextPooler.run` raises."""
    state = state_of(request)
    state.in_flight.add(request)
    validation_s = time.monotonic() - request.scope[BEGAN_S]
    try:
        answering = state.pooler.run(f"pool-{request_id_of(request.scope)}", sequences)
        vectors = await unless_gone(request.receive, answering)
    except Unanswered as error:
        raise BrokenOff(str(error)) from error
    except asyncio.CancelledError:
        if not state.draining:
            raise
        raise Draining("the server shut down before the answer was complete") from None
    finally:
        state.in_flight.discard(request)
    began_s = request.scope.pop(BEGAN_S)
    state.measures.accept(num_samples=1, validation_s=validation_s)
    answers = Answers(vectors, sum(len(sequence.token_ids) for sequence in sequences))
    _log(request, answers, began_s)
    return answers


def _log(request: Request, answers: Answers, began_s: float) -> None:
    """A line for a request that was answered, with what it took."""
    facts = {
        "request_id": request_id_of(request.scope),
        "path": request.url.path,
        "inputs": len(answers.vectors),
        "prompt_tokens": answers.num_tokens,
        "duration_ms": round((time.monotonic() - began_s) * 1e3, 1),
    }
    line = " ".join(f"{name}={value}" for name, value in facts.items())
    logger.info("request %s", line, extra={"facts": facts})


def embedder(request: Request) -> TextPooler:
    """The pooler, of a model that embeds; raises InvalidRequest for any other."""
    return _of_task(request, "embed", "embeds no texts: it scores or classifies them")


def classifier(request: Request) -> TextPooler:
    """The pooler, of a model that has labels; raises InvalidRequest for any other."""
    return _of_task(request, "classify", "has no labels: it embeds texts")


def _of_task(request: Request, task: str, told: str) -> TextPooler:
    pooler = state_of(request).pooler
    if pooler.model.task == task:
        return pooler
    raise InvalidRequest(f"the model served here {told}", param="model", code="unsupported_value")


def check_normalize(wanted: bool | None, pooler: TextPooler) -> None:
    """Raise InvalidRequest where vectors of another length are wanted than can be had."""
    if wanted is False and pooler.model.normalized:
        raise unsupported("normalize", "must be true: this model's vectors are of unit length")


def ignored(
    request: Request, raw: Mapping[str, Any], body: type[WireModel], *, judged: Iterable[str] = ()
) -> dict[str, str]:
    """The header that names what has no effect; `judged` are fields that are no part of `body`
    and ask for nothing. Raises InvalidRequest where the server is strict."""
    headers = naming_header(unread(raw, {*body.model_fields, *judged}))
    refuse_if_strict(state_of(request), headers)
    return headers


def framed(request: Request, prefix: str, model: str, data: list[Any]) -> dict[str, Any]:
    """A list as OpenAI and vLLM have it."""
    return {
        "id": f"{prefix}-{request_id_of(request.scope)}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": data,
    }
