"""How do Ollama's own generation routes answer: `/api/generate` and `/api/chat`?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.server.bodies import JSONBody
from jaxserve.server.generation import start_generation
from jaxserve.server.ignored import naming_header
from jaxserve.server.ollama.answer import Completion, Message, OllamaAnswer, Shape, framed
from jaxserve.server.ollama.schema import (
    OllamaBody,
    OllamaChatBody,
    OllamaGenerateBody,
    ignored_options,
    parse_ollama,
)
from jaxserve.server.parsing import unsupported
from jaxserve.server.request_id import request_id_of
from jaxserve.server.serving import held_to, respond, text_request
from jaxserve.server.sse import JSON_LINES
from jaxserve.server.state import ServerState, state_of
from jaxserve.server.timing import Stopwatch
from jaxserve.server.tool_choice import AUTO
from jaxserve.server.tools import check_tools, held_to_calls, held_to_either, schemas_of
from jaxserve.text.calls.reader import plain_reader
from jaxserve.text.chat import ChatOptions
from jaxserve.text.prompt import check_token_ids


async def generate(request: Request) -> Response:
    """Continue a text; streamed unless `stream` is false."""
    watch = Stopwatch()
    state = state_of(request)
    raw = await state.take_in(request)
    body = parse_ollama(raw, OllamaGenerateBody)
    model = state.model.resolve(body.model)
    if not body.prompt:
        return _loaded(model, Completion(None, plain_reader()))
    starting = _start_completion(request, body, watch)
    headers = naming_header(ignored_options(raw, body))
    return await respond(request, starting, stream=body.stream, headers=headers, framing=JSON_LINES)


async def chat(request: Request) -> Response:
    """Answer a conversation; streamed unless `stream` is false."""
    watch = Stopwatch()
    state = state_of(request)
    raw = await state.take_in(request)
    body = parse_ollama(raw, OllamaChatBody)
    model = state.model.resolve(body.model)
    if not body.messages:
        return _loaded(model, Message(plain_reader()))
    starting = _start_message(request, body, watch)
    headers = naming_header(ignored_options(raw, body))
    return await respond(request, starting, stream=body.stream, headers=headers, framing=JSON_LINES)


def _loaded(model: str, shape: Shape) -> Response:
    """Nothing to continue is a question whether the model is there."""
    return JSONBody(framed(model, shape.joined([]), done=True) | {"done_reason": "load"})


async def _start_completion(
    request: Request, body: OllamaGenerateBody, watch: Stopwatch
) -> OllamaAnswer:
    state = state_of(request)
    _check_thinking(state, body)
    prompt_ids = await _prompt_ids(state, body)
    reader = plain_reader() if body.raw else state.formats.reader(prompt_ids, None)
    shape = Completion(None if body.raw else prompt_ids, reader)
    return await _start(request, body, prompt_ids, shape=shape, watch=watch)


async def _start_message(request: Request, body: OllamaChatBody, watch: Stopwatch) -> OllamaAnswer:
    state = state_of(request)
    _check_thinking(state, body)
    if body.tools:
        check_tools(state.formats)
    options = ChatOptions(
        tools=[tool.plain() for tool in body.tools], template_kwargs=body.template_kwargs
    )
    prompt_ids = await state.generator.encode_chat(body.openai_messages(), options)
    shape = Message(state.formats.reader(prompt_ids, schemas_of(body.tools), whole=True))
    return await _start(request, body, prompt_ids, shape=shape, watch=watch)


def _check_thinking(state: ServerState, body: OllamaBody) -> None:
    if body.think and state.formats.reasoning is None:
        raise unsupported("think", "must be false or absent: the model served here does not think")


async def _prompt_ids(state: ServerState, body: OllamaGenerateBody) -> list[int]:
    """What came before (`context`), then the prompt as a user's message unless it is raw."""
    generator = state.generator
    check_token_ids(body.context, generator.limits.vocab_size, param="context")
    if body.raw or not generator.tokenizer.has_chat_template:
        text = body.prompt if not body.system else f"{body.system}\n\n{body.prompt}"
        prompt_ids = await generator.encode_text(text)
    else:
        messages: list[dict[str, Any]] = [{"role": "user", "content": body.prompt}]
        if body.system:
            messages.insert(0, {"role": "system", "content": body.system})
        options = ChatOptions(template_kwargs=body.template_kwargs)
        prompt_ids = await generator.encode_chat(messages, options)
    begins_again = body.context and prompt_ids[:1] == [generator.tokenizer.bos_id]
    return [*body.context, *(prompt_ids[1:] if begins_again else prompt_ids)]


async def _start(
    request: Request,
    body: OllamaBody,
    prompt_ids: list[int],
    *,
    shape: Shape,
    watch: Stopwatch,
) -> OllamaAnswer:
    state = state_of(request)
    text = text_request(
        state,
        body.as_openai(),
        id=f"ollama-{request_id_of(request.scope)}",
        prompt_ids=prompt_ids,
        max_tokens=_max_tokens(state, len(prompt_ids), body.options.num_predict),
        num_logprobs=body.top_logprobs if body.logprobs else None,
    )
    tools = body.tools if isinstance(body, OllamaChatBody) else []
    raw = isinstance(body, OllamaGenerateBody) and body.raw
    if not raw:
        text = replace(text, shown_ids=state.formats.shown_ids(calls=bool(tools)))
    if body.form is not None and tools:
        text = await held_to_either(state, text, body.form, tools, parallel=True)
    else:
        preface = "" if raw else state.formats.preface(prompt_ids)
        text = await held_to(state, text, body.form, preface=preface)
        text = await held_to_calls(state, text, tools, AUTO, parallel=True)
    generation = start_generation(state.generator, [text], param="prompt")
    watch.submitted()
    model = state.model.resolve(body.model)
    return OllamaAnswer(generation=generation, shape=shape, model=model, watch=watch)


def _max_tokens(state: ServerState, num_prompt: int, num_predict: int | None) -> int:
    if num_predict is not None and num_predict < 0:
        return state.generator.max_tokens_for(num_prompt, None)
    return state.max_tokens(num_prompt, num_predict, by_api=None, param="prompt")
