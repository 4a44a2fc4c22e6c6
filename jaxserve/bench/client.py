"""What came of one request, and when? Streams an answer and keeps the times of its pieces.

How many tokens there were is what the server's usage says: an event may carry several, or none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from jaxserve.bench.flavors import Flavor
from jaxserve.bench.http import Address, Connections

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]
CHAT: Endpoint = "/v1/chat/completions"
TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "text")
MAX_SAID = 120  # characters of what a server says of an error


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came of a request. Times are of `time.perf_counter`; `error` names what went wrong."""

    sent_s: float
    piece_s: list[float] = field(default_factory=list)  # when each piece of text came
    ended_s: float = 0.0
    text: str = ""
    wanted_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str | None = None
    error: str | None = None

    @property
    def ttft_s(self) -> float:
        """From the request to the first text, or to the end where no text came."""
        return (self.piece_s[0] if self.piece_s else self.ended_s) - self.sent_s

    @property
    def e2e_s(self) -> float:
        return self.ended_s - self.sent_s

    @property
    def gaps_s(self) -> list[float]:
        """Between pieces of text."""
        return [b - a for a, b in zip(self.piece_s, self.piece_s[1:], strict=False)]

    @property
    def tpot_s(self) -> float | None:
        """The mean time for each token after the first; None where there is one token at most."""
        if self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: messages of a conversation, the last of them the user's."""

    messages: tuple[Mapping[str, str], ...]
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How every question is put: the same for all requests of a run."""

    endpoint: Endpoint
    model: str
    flavor: Flavor
    ignore_eos: bool
    headers: Mapping[str, str]
    sampling: Mapping[str, Any]
    timeout_s: float

    def body(self, question: Question) -> dict[str, Any]:
        if self.endpoint == CHAT:
            asked: dict[str, Any] = {"messages": question.messages}
        else:
            asked = {"prompt": "\n".join(message["content"] for message in question.messages)}
        more = self.flavor.fields(question.max_tokens, ignore_eos=self.ignore_eos)
        return {"model": self.model, **asked, "stream": True, **self.sampling, **more}


class Client:
    """Puts questions to one server."""

    def __init__(self, address: Address, manner: Manner) -> None:
        self._address = address
        self._manner = manner
        self._connections = Connections(address, keep=manner.flavor.keeps_connections)

    async def ask(self, question: Question) -> Answer:
        """Stream the answer to the end. Never raises for what the server or the network did."""
        body = orjson.dumps(self._manner.body(question))
        request = self._address.request("POST", self._manner.endpoint, body, self._manner.headers)
        answer = Answer(sent_s=time.perf_counter(), wanted_tokens=question.max_tokens)
        stream = _Stream(answer)
        try:
            async with asyncio.timeout(self._manner.timeout_s):
                status = await self._connections.exchange(request, stream.receive)
        except TimeoutError:
            answer.error = f"no end of the answer in {self._manner.timeout_s:g} s"
        except OSError as error:
            answer.error = f"{type(error).__name__}: {error.strerror or error}"
        else:
            stream.end(status)
        answer.ended_s = answer.ended_s or time.perf_counter()
        return answer

    def close(self) -> None:
        self._connections.close()


class _Stream:
    """Reads an event stream into an answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._rest = b""
        self._body = bytearray()  # of what may not be a stream: the start of it, to name errors by
        self._texts: list[str] = []
        self._has_usage = False

    def receive(self, part: bytes) -> None:
        now_s = time.perf_counter()
        if len(self._body) < 4096:
            self._body += part
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._read(line[5:].strip(), now_s)

    def end(self, status: int) -> None:
        answer = self._answer
        answer.text = "".join(self._texts)
        if status != 200:
            answer.error = f"HTTP {status}: {_said(bytes(self._body))}"
        elif answer.error is None and answer.finish_reason is None:
            answer.error = "the stream ended before the answer was finished"
        elif answer.error is None and not self._has_usage:
            answer.error = "the stream told no usage, so nobody knows how many tokens it had"

    def _read(self, payload: bytes, now_s: float) -> None:
        answer = self._answer
        if payload == b"[DONE]":
            return
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            answer.error = "an event of the stream is not JSON"
            return
        if event.get("error"):
            answer.error = f"an error in the stream: {_said(payload)}"
            return
        for choice in event.get("choices") or ():
            self._read_choice(choice, now_s)
        if usage := event.get("usage"):
            self._has_usage = True
            answer.prompt_tokens = usage.get("prompt_tokens", 0)
            answer.output_tokens = usage.get("completion_tokens", 0)
            details = usage.get("prompt_tokens_details") or {}
            answer.cached_tokens = details.get("cached_tokens") or 0

    def _read_choice(self, choice: Mapping[str, Any], now_s: float) -> None:
        answer = self._answer
        said = choice.get("delta") or choice
        text = next((said[name] for name in TEXT_FIELDS if said.get(name)), None)
        if text or said.get("tool_calls"):
            answer.piece_s.append(now_s)
            self._texts.append(text or "")
        if choice.get("finish_reason"):
            answer.finish_reason = choice["finish_reason"]
            answer.ended_s = now_s


def _said(body: bytes) -> str:
    """What an error's body says, in one line."""
    try:
        said = orjson.loads(body)
        said = said.get("error", said) if isinstance(said, dict) else said
        said = said.get("message", said) if isinstance(said, dict) else said
    except orjson.JSONDecodeError:
        said = body.decode("utf-8", "replace")
    return " ".join(str(said).split())[:MAX_SAID] or "nothing"
