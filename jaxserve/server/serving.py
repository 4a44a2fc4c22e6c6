"""What happens to every generation request, whichever dialect it speaks?

Take in, parse, name the model, start, answer. Everything that can be refused is refused before
the first byte of the answer, and a client that leaves ends its sequences at any point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.generate import TextRequest
from jaxserve.server.answers import Answer, Frame
from jaxserve.server.bodies import JSONBody
from jaxserve.server.disconnect import unless_gone
from jaxserve.server.errors import BrokenOff, Draining, logged_error_body
from jaxserve.server.ignored import ignored_header
from jaxserve.server.request_id import request_id_of
from jaxserve.server.sampling import sampling_params
from jaxserve.server.schema import GenerationBody
from jaxserve.server.sse import EventStream
from jaxserve.server.state import ServerState, state_of

logger = logging.getLogger(__name__)

Body = TypeVar("Body", bound=GenerationBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(Generic[Body]):
    """A route's way of speaking: how bodies are read, and how a generation is started and told."""

    id_prefix: str
    object: str
    chunk_object: str
    parse: Callable[[dict[str, Any]], Body]
    start: Callable[[ServerState, Body, Frame], Coroutine[Any, Any, Answer]]


async def serve(request: Request, dialect: Dialect[Body]) -> Response:
    """Answer a generation request, whole or as events."""
    state = state_of(request)
    request_id = request_id_of(request.scope)
    with state.measures.refusals():
        raw = await state.take_in(request)
        began_s = time.monotonic()
        body = dialect.parse(raw)
        frame = Frame(
            id=dialect.id_prefix + (body.request_id or request_id),
            object=dialect.chunk_object if body.stream else dialect.object,
            model=state.model.resolve(body.model),
            fingerprint=state.model.fingerprint,
        )
        answer = await unless_gone(request.receive, dialect.start(state, body, frame))
    state.measures.accept(num_samples=body.n, validation_s=time.monotonic() - began_s)
    headers = ignored_header(raw, body)
    logger.debug("request %s ignores %s", request_id, headers or "nothing")
    if body.stream:
        return EventStream(
            answer.events(body.stream_options),
            describe=lambda error: logged_error_body(_told(error, state), request_id),
            close=answer.generation.cancel,
            headers=headers,
        )
    try:
        return JSONBody(await unless_gone(request.receive, answer.whole()), headers=headers)
    except BrokenOff as error:
        raise _told(error, state) from error
    except asyncio.CancelledError:
        if not state.draining:
            raise
        raise _told(BrokenOff("the server stopped"), state) from None
    finally:
        answer.generation.cancel()


def _told(error: Exception, state: ServerState) -> Exception:
    if isinstance(error, BrokenOff) and state.draining:
        return Draining("the server shut down before the answer was complete; try another")
    return error


def text_request(
    state: ServerState,
    body: GenerationBody,
    *,
    id: str,
    prompt_ids: Sequence[int],
    max_tokens: int,
    num_logprobs: int | None,
) -> TextRequest:
    """What the text layer is asked for one prompt of `body`."""
    params = sampling_params(
        body,
        max_tokens=max_tokens,
        num_logprobs=num_logprobs,
        defaults=state.defaults,
        limits=state.generator.limits,
    )
    return TextRequest(
        id=id,
        prompt_ids=tuple(prompt_ids),
        params=params,
        n=body.n,
        stop=body.stop,
        include_stop_str_in_output=body.include_stop_str_in_output,
        skip_special_tokens=body.skip_special_tokens,
        cache_salt=body.cache_salt or "",
    )
