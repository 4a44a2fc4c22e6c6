"""Text in, deltas of text out: encode, submit, detokenize, match stop strings.

Knows no HTTP and no JAX. It talks to the engine in token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxserve.engine.request import EngineLimits, FinishReason, Request, TokenDelta


class Engine(Protocol):
    """The narrow interface to the engine loop; plain values only.

    `submit` and `abort` may be called from any thread and return at once. `submit` raises
    RequestError for what can never be served, EngineBusy and EngineFailed. Deltas go to
    `deliver`, called on the engine's thread with all deltas of a step together.
    """

    limits: EngineLimits

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None: ...
    def submit(self, request: Request) -> None: ...
    def abort(self, request_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLogprob:
    """One token's log-probability with its text and true bytes."""

    token_id: int
    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[TextLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of a sequence's text; `finish_reason` is set on the last one and only there."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TextLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None  # matched stop string or stop token id; None for EOS
    num_cached_tokens: int = 0
