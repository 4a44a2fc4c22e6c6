"""A server for the load generator to meet: a token is a word, and it can misbehave as told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TEMPLATE_TOKENS = 7  # that it adds around every prompt
Respond = Callable[[dict[str, Any]], Response]


@dataclass
class WordServer:
    """Answers `max_tokens` words, two in an event. `respond` may answer in its place."""

    respond: Respond | None = None
    listed: tuple[str, ...] = ("words",)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
                Route("/v1/completions", self._answer, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": name} for name in self.listed]})

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        return self.respond(body) if self.respond else streamed(events(body))


def events(body: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """The events of a good answer."""
    said = [m["content"] for m in body.get("messages", ())] or [body["prompt"]]
    count = body["max_tokens"]
    yield choice({"role": "assistant", "content": ""})
    for start in range(0, count, 2):
        yield choice({"content": "word " * min(2, count - start)})
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    num_prompt = TEMPLATE_TOKENS + sum(len(text.split()) for text in said)
    usage = {"prompt_tokens": num_prompt, "completion_tokens": count}
    yield {"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 3}}}
    yield "[DONE]"


def choice(delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def streamed(items: Iterator[dict[str, Any] | str], *, end: str = "\n\n") -> Response:
    async def frames() -> AsyncIterator[str]:
        for item in items:
            yield f"data: {item if isinstance(item, str) else json.dumps(item)}{end}"

    return StreamingResponse(frames(), media_type="text/event-stream")
