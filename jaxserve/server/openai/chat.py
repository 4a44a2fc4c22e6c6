"""How does POST /v1/chat/completions answer?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.config import ApiConfig
from jaxserve.engine.request import FinishReason
from jaxserve.errors import InvalidRequest
from jaxserve.generate import TextDelta, TextRequest
from jaxserve.server.answers import Answer, Frame, Piece, collected_ids, finishing
from jaxserve.server.generation import Usage, start_generation
from jaxserve.server.logprobs import chat_logprobs, prompt_logprobs
from jaxserve.server.message_deltas import message_delta, whole_message
from jaxserve.server.schema import ChatBody, parse_chat
from jaxserve.server.serving import (
    Dialect,
    held_to,
    serve,
    stream_options,
    text_request,
    truncation,
)
from jaxserve.server.state import ServerState
from jaxserve.server.tools import check_tools, held_to_calls, held_to_either, schemas_of
from jaxserve.text.calls.events import Reasoning
from jaxserve.text.calls.reader import AnswerReader
from jaxserve.text.chat import ChatOptions
from jaxserve.text.messages import join_parts, normalize_messages

NO_THINKING = {"enable_thinking": False, "thinking": False}  # what templates call it


async def chat_completions(request: Request) -> Response:
    """Answer a conversation."""
    return await serve(request, CHAT)


async def _start(state: ServerState, body: ChatBody, frame: Frame) -> Answer:
    request = await chat_request(state, body, id=frame.id)
    generation = start_generation(state.generator, [request], param="messages")
    if state.formats.reasoning is not None:
        generation.usage.reasoning_tokens = 0

    def choice(index: int) -> ChatChoice:
        reader = state.formats.reader(
            request.prompt_ids, schemas_of(body.callable_tools), parallel=body.parallel_calls
        )
        return ChatChoice(index, body, reader, generation.usage)

    def scores() -> dict[str, Any]:
        told = prompt_logprobs(request.prompt_ids, generation.prompt_logprobs[0])
        return {"prompt_logprobs": told}

    return Answer(
        frame=frame,
        generation=generation,
        at_end=dict if body.prompt_logprobs is None else scores,
        choices=[choice(index) for index in range(body.num_samples)],
        num_kept=body.n,
        options=stream_options(state, body),
        once={"prompt_token_ids": request.prompt_ids} if body.return_token_ids else {},
    )


async def chat_request(state: ServerState, body: ChatBody, *, id: str) -> TextRequest:
    """What the text layer is asked for a conversation."""
    generator = state.generator
    if body.callable_tools:
        check_tools(state.formats)
    messages = [message.model_dump(exclude_unset=True) for message in body.messages]
    asked = body.max_completion_tokens or body.max_tokens
    prompt_ids = await generator.encode_chat(
        messages, chat_options(body, state.api), truncation(state, body, asked)
    )
    request = text_request(
        state,
        body,
        id=id,
        prompt_ids=prompt_ids,
        max_tokens=state.max_tokens(len(prompt_ids), asked, by_api=None, param="messages"),
        num_logprobs=body.top_logprobs if body.logprobs else None,
    )
    shown_ids = state.formats.shown_ids(calls=bool(body.callable_tools))
    request = replace(request, shown_ids=shown_ids)
    tools, parallel = body.callable_tools, body.parallel_calls
    if body.form is not None and tools:
        return await held_to_either(state, request, body.form, tools, parallel=parallel)
    request = await held_to(state, request, body.form, preface=state.formats.preface(prompt_ids))
    return await held_to_calls(state, request, tools, body.tool_choice, parallel=parallel)


def chat_options(body: ChatBody, api: ApiConfig) -> ChatOptions:
    """What `body` gives the chat template beside its messages."""
    variables = dict(body.chat_template_kwargs)
    if body.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", body.reasoning_effort)
    if body.reasoning_effort == "none":
        variables = NO_THINKING | variables
    if body.tool_prompt is not None:
        variables.setdefault("tool_prompt", body.tool_prompt)
    continues = _continues(body, api)
    hides_tools = api.exclude_tools_when_tool_choice_none and body.tool_choice.mode == "none"
    return ChatOptions(
        tools=[] if hides_tools else [tool.plain() for tool in body.tools],
        documents=body.documents,
        add_generation_prompt=_first(body.add_generation_prompt, not continues),
        continue_final_message=continues,
        add_special_tokens=_first(body.add_special_tokens, False),
        template_kwargs=variables,
        merge_system_messages=api.merge_system_messages,
        template=trusted_template(body.chat_template, api),
    )


def trusted_template(template: str | None, api: ApiConfig) -> str | None:
    """The template that a request brings; raises InvalidRequest where those are not trusted."""
    if template is not None and not api.trust_request_chat_template:
        raise InvalidRequest(
            "chat_template is not supported here: the model's own template is used, and "
            "chat_template_kwargs reach it; --trust-request-chat-template would let it in",
            param="chat_template",
            code="unsupported_parameter",
        )
    return template


def _continues(body: ChatBody, api: ApiConfig) -> bool:
    """Whether the last message is gone on with; TGI does so unless it is told otherwise."""
    told = body.model_fields_set & {"add_generation_prompt", "continue_final_message"}
    if not api.tgi_compat or told:
        return body.continue_final_message
    last = body.messages[-1]
    return last.role == "assistant" and bool(last.content)


def _first(given: bool | None, default: bool) -> bool:
    return default if given is None else given


class ChatChoice:
    """One sequence as an assistant message."""

    def __init__(self, index: int, body: ChatBody, reader: AnswerReader, usage: Usage) -> None:
        self._index = index
        self._body = body
        self._opened = False
        self._reader = reader
        self._usage = usage

    def pieces(self, delta: TextDelta) -> Iterable[Piece]:
        """The role once, then content and calls, then the finish on its own."""
        if not self._opened:
            self._opened = True
            yield self._piece({"role": "assistant", "content": ""})
            if echo := self._echo():
                yield self._piece({"content": echo})
        more = self._beside_text(delta)
        for told in self._told(delta) or ([{"content": ""}] if more else []):
            yield self._piece(told) | more
            more = {}
        if delta.finish_reason is not None:
            yield self._piece({}) | self._finishing(delta)

    def whole(self, pieces: list[Piece]) -> Piece:
        deltas = [piece["delta"] for piece in pieces]
        logprobs = [entry for piece in pieces for entry in _entries(piece)]
        whole = {
            "index": self._index,
            "message": whole_message(deltas),
            "logprobs": {"content": logprobs, "refusal": None} if self._body.logprobs else None,
            "finish_reason": pieces[-1]["finish_reason"],
            "stop_reason": pieces[-1]["stop_reason"],
        }
        if self._body.return_token_ids:
            whole["token_ids"] = collected_ids(pieces)
        return whole

    def _echo(self) -> str:
        """The text that is gone on with, where it was asked for."""
        if not self._body.echo:
            return ""
        (last,) = normalize_messages([self._body.messages[-1].model_dump(exclude_unset=True)])
        text: str = join_parts(last)["content"]
        return text

    def _told(self, delta: TextDelta) -> list[dict[str, Any]]:
        num_before = self._reader.num_reasoning_tokens
        events = self._reader.read(delta)
        if self._usage.reasoning_tokens is not None:
            self._usage.reasoning_tokens += self._reader.num_reasoning_tokens - num_before
        shown = self._body.include_reasoning
        return [message_delta(e) for e in events if shown or not isinstance(e, Reasoning)]

    def _beside_text(self, delta: TextDelta) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if delta.logprobs and self._body.logprobs:
            as_ids = self._body.return_tokens_as_token_ids
            more["logprobs"] = chat_logprobs(delta.logprobs, as_ids=as_ids)
        if self._body.return_token_ids and delta.token_ids:
            more["token_ids"] = delta.token_ids
        return more

    def _finishing(self, delta: TextDelta) -> dict[str, Any]:
        fields = finishing(delta)
        calls_by_choice = self._body.tool_choice.mode != "named" and self._reader.num_complete
        if calls_by_choice and delta.finish_reason is FinishReason.STOP:
            fields["finish_reason"] = "tool_calls"
        return fields

    def _piece(self, delta: dict[str, Any]) -> Piece:
        return {"index": self._index, "delta": delta, "logprobs": None, "finish_reason": None}


def _entries(piece: Piece) -> list[Any]:
    logprobs = piece["logprobs"]
    return logprobs["content"] if logprobs else []


CHAT = Dialect(
    id_prefix="chatcmpl-",
    object="chat.completion",
    chunk_object="chat.completion.chunk",
    parse=parse_chat,
    start=_start,
)
