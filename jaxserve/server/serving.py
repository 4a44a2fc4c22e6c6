"""What happens to every generation request, whichever dialect it speaks?

Take in, parse, name the model, start, answer. Everything that can be refused is refused before
the first byte of the answer, and a client that leaves ends its sequences at any point.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.errors import InvalidRequest
from jaxserve.generate import TextRequest, Truncation
from jaxserve.server.answers import Answer, Frame, RunningAnswer
from jaxserve.server.bodies import JSONBody
from jaxserve.server.disconnect import unless_gone
from jaxserve.server.errors import BrokenOff, Draining, logged_error_body
from jaxserve.server.forms import Form
from jaxserve.server.generation import Generation
from jaxserve.server.ignored import HEADER, ignored_header
from jaxserve.server.request_id import request_id_of
from jaxserve.server.row import Endpoint
from jaxserve.server.sampling import sampling_params
from jaxserve.server.schema import GenerationBody, StreamOptions
from jaxserve.server.sse import OPENAI_EVENTS, EventStream, Framing
from jaxserve.server.state import BEGAN_S, ServerState, state_of

logger = logging.getLogger(__name__)

Body = TypeVar("Body", bound=GenerationBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(Generic[Body]):
    """How an OpenAI route speaks: how bodies are read, a generation is started and told."""

    id_prefix: str
    object: str
    chunk_object: str
    parse: Callable[[dict[str, Any]], Body]
    start: Callable[[ServerState, Body, Frame], Coroutine[Any, Any, Answer]]


def measured(endpoint: Endpoint) -> Endpoint:
    """The endpoint; what it raises before the engine has the request is counted as a refusal."""

    @functools.wraps(endpoint)
    async def counting(request: Request) -> Response:
        request.scope[BEGAN_S] = time.monotonic()
        try:
            return await endpoint(request)
        except Exception as error:
            if BEGAN_S in request.scope:  # `respond` takes it away
                state_of(request).measures.refuse(error)
            raise

    return counting


async def serve(request: Request, dialect: Dialect[Body]) -> Response:
    """Answer a generation request, whole or as events."""
    return await serve_body(request, await state_of(request).take_in(request), dialect)


async def serve_body(request: Request, raw: dict[str, Any], dialect: Dialect[Body]) -> Response:
    """`serve`, for a body that has been read."""
    state = state_of(request)
    body = dialect.parse(raw)
    request_id = request_id_of(request.scope)
    frame = Frame(
        id=dialect.id_prefix + (body.request_id or request_id),
        object=dialect.chunk_object if body.stream else dialect.object,
        model=state.model.resolve(body.model),
        fingerprint=state.model.fingerprint,
    )
    headers = ignored_header(raw, body)
    logger.debug("request %s ignores %s", request_id, headers or "nothing")
    starting = dialect.start(state, body, frame)
    return await respond(request, starting, stream=body.stream, headers=headers)


def refuse_if_strict(state: ServerState, headers: Mapping[str, str]) -> None:
    """Raise InvalidRequest for fields without effect that `headers` names, if the server is so."""
    if state.config.server.strict and HEADER in headers:
        raise InvalidRequest(
            f"these fields have no effect here and the server is strict: {headers[HEADER]}; "
            "leave them out",
            param=headers[HEADER].partition(",")[0],
            code="unsupported_parameter",
        )


async def respond(
    request: Request,
    starting: Coroutine[Any, Any, RunningAnswer],
    *,
    stream: bool,
    headers: Mapping[str, str],
    framing: Framing = OPENAI_EVENTS,
) -> Response:
    """Start a generation and tell it; it ends when the client leaves, at whatever point."""
    state = state_of(request)
    try:
        refuse_if_strict(state, headers)
    except InvalidRequest:
        starting.close()
        raise
    answer = await unless_gone(request.receive, starting)
    state.in_flight.add(answer.generation)
    began_s = request.scope.pop(BEGAN_S)
    state.measures.accept(
        num_samples=answer.generation.num_samples, validation_s=time.monotonic() - began_s
    )

    def close() -> None:
        answer.generation.cancel()
        state.in_flight.discard(answer.generation)
        _log(request, answer.generation, began_s)

    if stream:
        return EventStream(
            answer.events(),
            describe=lambda error: logged_error_body(_told(error, state), request.scope),
            close=close,
            headers={**headers, **answer.headers()},
            framing=framing,
        )
    try:
        whole = await unless_gone(request.receive, answer.whole())
        return JSONBody(whole, headers={**headers, **answer.headers()})
    except BrokenOff as error:
        raise _told(error, state) from error
    except asyncio.CancelledError:
        if not state.draining:
            raise
        raise _told(BrokenOff("the server stopped"), state) from None
    finally:
        close()


def _log(request: Request, generation: Generation, began_s: float) -> None:
    """A line for a request that has ended, with what it took."""
    usage = generation.usage
    facts = {
        "request_id": request_id_of(request.scope),
        "path": request.url.path,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "duration_ms": round((time.monotonic() - began_s) * 1e3, 1),
        "ended": generation.has_ended,
    }
    line = " ".join(f"{name}={value}" for name, value in facts.items())
    logger.info("request %s", line, extra={"facts": facts})


def _told(error: Exception, state: ServerState) -> Exception:
    if isinstance(error, BrokenOff) and state.draining:
        return Draining("the server shut down before the answer was complete; try another")
    return error


def truncation(state: ServerState, body: GenerationBody, asked: int | None) -> Truncation | None:
    """What `body` lets be cut off its prompt, whose answer may get `asked` tokens."""
    kept, limit = body.truncate_prompt_tokens, state.generator.limits.max_model_len
    if kept is None:
        return None
    if kept > limit:
        raise InvalidRequest(
            f"truncate_prompt_tokens is {kept}, more than the model's context of {limit} tokens",
            param="truncate_prompt_tokens",
        )
    fitting = max(limit - (asked or 1), 1)
    return Truncation(fitting if kept == -1 else kept, body.truncation_side)


def stream_options(state: ServerState, body: GenerationBody) -> StreamOptions:
    """What goes into the stream of an answer beside the answer."""
    if not state.api.enable_force_include_usage:
        return body.stream_options
    return body.stream_options.model_copy(update={"include_usage": True})


async def held_to(
    state: ServerState, request: TextRequest, form: Form | None, *, preface: str = ""
) -> TextRequest:
    """The request with its output held to `form`; raises InvalidRequest if that can not be."""
    if form is None:
        return request
    wish = replace(form.wish, preface=preface)
    return replace(request, grammar=await state.compile_grammar(wish, param=form.param))


def text_request(
    state: ServerState,
    body: GenerationBody,
    *,
    id: str,
    prompt_ids: Sequence[int],
    max_tokens: int,
    num_logprobs: int | None,
) -> TextRequest:
    """What the text layer is asked for one prompt of `body`; finding the best takes scores."""
    adapter = state.model.adapter(body.model)
    if body.num_samples > body.n:
        num_logprobs = num_logprobs or 0
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
        n=body.num_samples,
        stop=body.stop,
        include_stop_str_in_output=body.include_stop_str_in_output,
        skip_special_tokens=body.skip_special_tokens,
        adapter=0 if adapter is None else adapter.place + 1,
        # What another adapter computed for the same tokens is something else.
        cache_salt=f"{'' if adapter is None else adapter.number}:{body.cache_salt or ''}",
    )
