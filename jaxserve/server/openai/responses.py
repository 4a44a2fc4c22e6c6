"""How does POST /v1/responses answer? The chat route's generation, told as a response."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.engine.request import FinishReason
from jaxserve.errors import RequestError
from jaxserve.generate import TextDelta
from jaxserve.server.errors import BrokenOff
from jaxserve.server.generation import Generation, start_generation
from jaxserve.server.ignored import naming_header
from jaxserve.server.logprobs import chat_logprobs
from jaxserve.server.openai.chat import chat_request
from jaxserve.server.openai.response_items import ResponseItems, Told
from jaxserve.server.openai.response_schema import (
    ResponsesBody,
    ignored_fields,
    in_own_words,
    parse_responses,
)
from jaxserve.server.request_id import request_id_of
from jaxserve.server.schema import ChatBody
from jaxserve.server.serving import respond
from jaxserve.server.sse import RESPONSE_EVENTS
from jaxserve.server.state import ServerState, state_of
from jaxserve.server.tools import schemas_of
from jaxserve.text.calls.events import Content
from jaxserve.text.calls.reader import AnswerReader

logger = logging.getLogger(__name__)


async def responses(request: Request) -> Response:
    """Answer a conversation, told in items; nothing is stored."""
    state = state_of(request)
    raw = await state.take_in(request)
    body = parse_responses(raw)
    chat = body.as_chat()
    starting = _start(state, body, chat, id=f"resp_{request_id_of(request.scope)}")
    headers = naming_header(ignored_fields(raw, body))
    return await respond(
        request, starting, stream=body.stream, headers=headers, framing=RESPONSE_EVENTS
    )


async def _start(
    state: ServerState, body: ResponsesBody, chat: ChatBody, *, id: str
) -> ResponsesAnswer:
    model = state.model.resolve(body.model)
    try:
        request = await chat_request(state, chat, id=id)
        generation = start_generation(state.generator, [request], param="input")
    except RequestError as error:
        raise in_own_words(error) from None
    reader = state.formats.reader(
        request.prompt_ids, schemas_of(chat.callable_tools), parallel=chat.parallel_calls
    )
    return ResponsesAnswer(id=id, model=model, body=body, generation=generation, reader=reader)


@dataclass(slots=True, kw_only=True)
class ResponsesAnswer:
    """A running response."""

    id: str
    model: str
    body: ResponsesBody
    generation: Generation
    reader: AnswerReader
    created: int = field(default_factory=lambda: int(time.time()))
    _items: ResponseItems = field(default_factory=ResponseItems, init=False)
    _finish: FinishReason | None = field(default=None, init=False)

    def headers(self) -> dict[str, str]:
        return {}

    async def whole(self) -> dict[str, Any]:
        async for _ in self._told():
            pass
        return self._response(self._status())

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Every event with its place in the stream, the response as it is at both ends."""
        number = 0
        async with aclosing(self._framed()) as told:
            async for event in told:
                yield {**event, "sequence_number": number}
                number += 1

    async def _framed(self) -> AsyncGenerator[Told, None]:
        for name in ("created", "in_progress"):
            yield {"type": f"response.{name}", "response": self._response("in_progress")}
        try:
            async with aclosing(self._told()) as told:
                async for event in told:
                    yield event
        except BrokenOff as error:
            logger.error("response %s failed", self.id, exc_info=error)
            failure = {"code": "server_error", "message": "the server ended the response"}
            response = self._response("failed") | {"error": failure}
            yield {"type": "response.failed", "response": response}
            return
        status = self._status()
        yield {"type": f"response.{status}", "response": self._response(status)}

    async def _told(self) -> AsyncGenerator[Told, None]:
        async with aclosing(self.generation.deltas()) as deltas:
            async for _, delta in deltas:
                for event in self._read(delta):
                    yield event

    def _read(self, delta: TextDelta) -> Iterator[Told]:
        logprobs: list[Any] = []
        if self.body.tells_logprobs:
            logprobs = chat_logprobs(delta.logprobs, as_ids=False)["content"]
        for event in self.reader.read(delta):
            yield from self._items.take(event, logprobs)
            logprobs = []
        if delta.finish_reason is not None:
            self._finish = delta.finish_reason
            if not self._items.items:  # an answer without a word is a message all the same
                yield from self._items.take(Content(""), logprobs)
            yield from self._items.close(self._status())

    def _status(self) -> str:
        return "incomplete" if self._finish is FinishReason.LENGTH else "completed"

    def _response(self, status: str) -> dict[str, Any]:
        body = self.body
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        ended = status in ("completed", "incomplete")
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if ended else None,
            "status": status,
            "model": self.model,
            "output": [*self._items.items],
            "error": None,
            "incomplete_details": cut,
            "instructions": body.instructions or None,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata,
            "parallel_tool_calls": body.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": body.text.format or {"type": "text"}},
            "tool_choice": body.tool_choice,
            "tools": body.tools,
            "top_logprobs": body.top_logprobs,
            "top_p": body.top_p,
            "truncation": body.truncation,
            "usage": self._usage() if ended else None,
        }

    def _usage(self) -> dict[str, Any]:
        usage = self.generation.usage
        cached = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0}
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": cached,
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reader.num_reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
