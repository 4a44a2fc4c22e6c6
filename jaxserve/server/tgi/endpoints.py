"""How do TGI's own routes answer, and SageMaker's `/invocations` that leads to them?"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.engine.request import EngineLimits
from jaxserve.errors import ContextLengthExceeded, InvalidRequest, JaxserveError
from jaxserve.generate import TextRequest, Truncation
from jaxserve.server.bodies import JSONBody
from jaxserve.server.error_styles import OPENAI, tell_errors_as
from jaxserve.server.errors import logged_error_body
from jaxserve.server.generation import start_generation
from jaxserve.server.ignored import naming_header
from jaxserve.server.openai import embeddings
from jaxserve.server.openai.chat import CHAT
from jaxserve.server.openai.completions import COMPLETIONS
from jaxserve.server.request_id import request_id_of
from jaxserve.server.serving import held_to, respond, serve_body, text_request
from jaxserve.server.sse import TGI_EVENTS
from jaxserve.server.state import ServerState, state_of
from jaxserve.server.tgi import embed
from jaxserve.server.tgi.answer import TgiAnswer, sequences_of
from jaxserve.server.tgi.schema import (
    GenerateBody,
    ignored_parameters,
    parse_generate,
)
from jaxserve.server.timing import Stopwatch
from jaxserve.text.prompt import NUM_THREADS
from jaxserve.version import __version__

PIPELINES = {
    "generate": "text-generation",
    "embed": "feature-extraction",
    "classify": "text-classification",
}


async def generate(request: Request) -> Response:
    """Continue a text."""
    raw = await state_of(request).take_in(request)
    return await _answer(request, raw, stream=False)


async def generate_stream(request: Request) -> Response:
    """Continue a text, told token by token."""
    state = state_of(request)
    try:
        return await _answer(request, await state.take_in(request), stream=True)
    except JaxserveError as error:
        if not state.tgi.stream_errors_as_events:
            raise
        state.measures.refuse(error)
        event = TGI_EVENTS.framed(logged_error_body(error, request.scope))
        return Response(event, media_type=TGI_EVENTS.media_type)


async def generate_either(request: Request) -> Response:
    """Continue a text, told token by token if `stream` is true; the prompt comes back with it."""
    raw = await state_of(request).take_in(request)
    return await _answer_either(request, raw)


async def invocations(request: Request) -> Response:
    """SageMaker's one route: the body's first key of a known shape decides which route it is."""
    raw = await state_of(request).take_in(request)
    given = {name for name, value in raw.items() if value is not None}
    if "inputs" in given:
        return await _answer_either(request, raw)
    if "messages" in given or "prompt" in given:
        tell_errors_as(OPENAI, request.scope)
        if "messages" in given:
            return await serve_body(request, raw, CHAT)
        return await serve_body(request, raw, COMPLETIONS)
    if "input" in given:
        tell_errors_as(OPENAI, request.scope)
        return await embeddings.embed(request, raw)
    raise InvalidRequest(
        "the body must have inputs (to generate, or embed), messages (to chat), prompt (to "
        "complete) or input (to embed)"
    )


async def info(request: Request) -> Response:
    """The model and the limits."""
    state = state_of(request)
    model, limits, tgi = state.model, state.text.limits, state.tgi
    generates = model.task == "generate"
    return JSONBody(
        {
            "model_id": model.root,
            "model_sha": model.details.revision,
            "model_dtype": model.details.dtype,
            "model_device_type": model.details.device,
            "model_pipeline_tag": PIPELINES[model.task],
            "max_concurrent_requests": limits.max_concurrent_requests or limits.max_queued_requests,
            "max_best_of": tgi.max_best_of,
            "max_stop_sequences": tgi.max_stop_sequences,
            "max_input_tokens": _max_input_tokens(limits) if generates else limits.max_model_len,
            "max_total_tokens": limits.max_model_len,
            "validation_workers": NUM_THREADS,
            "max_client_batch_size": tgi.max_client_batch_size,
            "router": "jaxserve",
            "version": __version__,
            "sha": None,
            "docker_label": None,
        }
    )


async def _answer_either(request: Request, raw: dict[str, Any]) -> Response:
    if state_of(request).model.task != "generate":
        return await embed.answer(request, raw)
    stream = raw.get("stream") is True
    return await _answer(request, raw, stream=stream, in_list=True)


async def _answer(
    request: Request, raw: dict[str, Any], *, stream: bool, in_list: bool = False
) -> Response:
    watch = Stopwatch()
    state = state_of(request)
    body = parse_generate(raw, state.tgi, stream=stream)
    wants_text = body.parameters.return_full_text
    starting = _start(
        state,
        body,
        id=f"tgi-{request_id_of(request.scope)}",
        watch=watch,
        scores_tokens=stream or body.parameters.details,
        opening=body.inputs if (in_list if wants_text is None else wants_text) else "",
        in_list=in_list,
    )
    ignored = ignored_parameters(raw, body)
    return await respond(
        request, starting, stream=stream, headers=naming_header(ignored), framing=TGI_EVENTS
    )


async def generate_request(
    state: ServerState, body: GenerateBody, *, id: str, scores_tokens: bool = False
) -> TextRequest:
    """What the text layer is asked for `body`; the best of several needs scores to be found."""
    parameters = body.parameters
    if parameters.adapter_id and state.model.adapter(parameters.adapter_id) is None:
        raise InvalidRequest(
            f"parameters.adapter_id: no adapter {parameters.adapter_id[:200]!r} is loaded",
            param="parameters.adapter_id",
        )
    prompt_ids = await _prompt_ids(state, body.inputs, parameters.truncate)
    scores_tokens = scores_tokens or parameters.best_of > 1
    request = text_request(
        state,
        body.as_openai(),
        id=id,
        prompt_ids=prompt_ids,
        max_tokens=_max_new_tokens(state, len(prompt_ids), parameters.max_new_tokens),
        num_logprobs=parameters.top_n_tokens if scores_tokens else None,
    )
    return await held_to(state, request, parameters.form)


async def _start(
    state: ServerState,
    body: GenerateBody,
    *,
    id: str,
    watch: Stopwatch,
    scores_tokens: bool,
    opening: str,
    in_list: bool,
) -> TgiAnswer:
    parameters = body.parameters
    request = await generate_request(state, body, id=id, scores_tokens=scores_tokens)
    generation = start_generation(state.generator, [request], param="inputs")
    watch.submitted()
    tokenizer = state.generator.tokenizer
    return TgiAnswer(
        generation=generation,
        sequences=sequences_of(generation, tokenizer, seeded=parameters.samples),
        parameters=parameters,
        watch=watch,
        tokenizer=tokenizer,
        prompt_ids=request.prompt_ids,
        num_input_chars=len(body.inputs),
        compute_type=state.model.details.device,
        opening=opening,
        in_list=in_list,
    )


async def _prompt_ids(state: ServerState, inputs: str, truncate: int | None) -> list[int]:
    """The ids of `inputs`; with `truncate` the last so many of them."""
    limit = _max_input_tokens(state.generator.limits)
    if truncate is None:
        return await state.generator.encode_text(inputs, param="inputs")
    if truncate > limit:
        raise InvalidRequest(
            f"parameters.truncate is {truncate}; at most {limit} tokens can be kept",
            param="parameters.truncate",
        )
    kept = Truncation(truncate)
    return await state.generator.encode_text(inputs, param="inputs", truncation=kept)


def _max_new_tokens(state: ServerState, num_input: int, asked: int | None) -> int:
    limit = state.generator.limits.max_model_len
    most = _max_input_tokens(state.generator.limits)
    if num_input > most:
        raise ContextLengthExceeded(
            f"`inputs` must have less than {most + 1} tokens. Given: {num_input}. Shorten it, or "
            "set `truncate`",
            param="inputs",
        )
    if asked is not None and num_input + asked > limit:
        raise ContextLengthExceeded(
            f"`inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {num_input} `inputs` "
            f"tokens and {asked} `max_new_tokens`",
            param="parameters.max_new_tokens",
        )
    if asked is not None:
        return asked
    return min(limit - num_input, state.api.default_max_tokens or limit)


def _max_input_tokens(limits: EngineLimits) -> int:
    return limits.max_input_tokens or limits.max_model_len - 1
