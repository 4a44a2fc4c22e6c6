"""How does Vertex AI's predict route answer? A text for each instance, in order.

An instance is a request to TGI's `/generate` or an OpenAI chat; all run at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import FailFast, Field
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.errors import InvalidRequest, RequestError
from jaxserve.generate import TextRequest
from jaxserve.server.fields import Object, WireModel
from jaxserve.server.generation import Generation, start_generation
from jaxserve.server.openai.chat import chat_request
from jaxserve.server.parsing import parse_body
from jaxserve.server.request_id import request_id_of
from jaxserve.server.schema import MAX_PROMPTS, parse_chat
from jaxserve.server.serving import respond
from jaxserve.server.state import ServerState, state_of
from jaxserve.server.tgi.endpoints import generate_request
from jaxserve.server.tgi.schema import parse_generate


class PredictBody(WireModel):
    """`parameters` are the defaults of every instance's own."""

    instances: Annotated[list[Object], FailFast(), Field(min_length=1, max_length=MAX_PROMPTS)]
    parameters: Object = Field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Predictions:
    """The running answer: one sequence per instance."""

    generation: Generation
    openings: list[str]

    def headers(self) -> dict[str, str]:
        return {}

    async def whole(self) -> dict[str, Any]:
        texts = list(self.openings)
        async with aclosing(self.generation.deltas()) as deltas:
            async for index, delta in deltas:
                texts[index] += delta.text
        return {"predictions": texts}

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        yield await self.whole()


async def predict(request: Request) -> Response:
    """Answer the instances of a Vertex AI prediction."""
    raw = await state_of(request).take_in(request)
    starting = _start(request, parse_body(raw, PredictBody))
    return await respond(request, starting, stream=False, headers={})


async def _start(request: Request, body: PredictBody) -> Predictions:
    state = state_of(request)
    requests: list[TextRequest] = []
    openings: list[str] = []
    for index, instance in enumerate(body.instances):
        try:
            text, opening = await _text_request(
                state,
                instance,
                defaults=body.parameters,
                id=f"vertex-{request_id_of(request.scope)}",
            )
        except RequestError as error:
            where = f"instances[{index}]"
            param = f"{where}.{error.param}" if error.param else where
            raise InvalidRequest(f"{where}: {error}", param=param, code=error.code) from error
        requests.append(text)
        openings.append(opening)
    generation = start_generation(state.generator, requests, param="instances")
    return Predictions(generation=generation, openings=openings)


async def _text_request(
    state: ServerState, instance: dict[str, Any], *, defaults: dict[str, Any], id: str
) -> tuple[TextRequest, str]:
    """What is asked of the text layer for an instance, and what is told before its output."""
    if instance.get("messages") is not None:
        chat = parse_chat({**defaults, **instance})
        state.model.resolve(chat.model)
        request, opening = await chat_request(state, chat, id=id), ""
    else:
        body = parse_generate(_with_defaults(instance, defaults), state.tgi, stream=False)
        wants_text = body.parameters.return_full_text
        request, opening = (
            await generate_request(state, body, id=id),
            body.inputs * bool(wants_text),
        )
    if request.n > 1:
        raise InvalidRequest("an instance has one prediction: leave out n and best_of")
    return request, opening


def _with_defaults(instance: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    own = instance.get("parameters")
    if not defaults or not isinstance(own, dict | None):
        return instance
    return {**instance, "parameters": {**defaults, **(own or {})}}
