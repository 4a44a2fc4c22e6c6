"""Stand-ins for what text work stands between: a tokenizer of bytes and an engine with a script."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

from jaxserve.engine.meter import Meter
from jaxserve.engine.metrics import (
    EngineHealth,
    EngineMetrics,
    EngineStats,
    EngineTotals,
    FixedSizes,
)
from jaxserve.engine.request import (
    EngineLimits,
    FinishReason,
    Request,
    TokenDelta,
    TokenLogprob,
)
from jaxserve.engine.stopping import reason_to_end
from jaxserve.errors import EngineBusy, EngineFailed, InvalidRequest
from jaxserve.text.chat import ChatOptions
from jaxserve.text.messages import join_parts, normalize_messages
from jaxserve.text.tokenizer import TokenSpan

BOS, EOS, END_OF_TURN = 256, 257, 258
SPECIALS = {"<s>": BOS, "</s>": EOS, "<|end|>": END_OF_TURN}
FIRST_MARKER = 300
ROLES = ("system", "developer", "user", "assistant", "tool")

Script = Sequence[int] | Callable[[Request], Sequence[int]]


class ByteTokenizer:
    """A token is a byte; three more are special. Chat messages are `role: content` lines."""

    vocab_size = 259
    bos_id: int | None = BOS
    eos_ids = frozenset({EOS, END_OF_TURN})
    longest_token = max(map(len, SPECIALS))
    has_chat_template = True

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = [BOS] if add_special_tokens and not text.startswith("<s>") else []
        for piece in re.split(f"({'|'.join(map(re.escape, SPECIALS))})", text):
            ids += [SPECIALS[piece]] if piece in SPECIALS else piece.encode()
        return ids

    def encode_spans(self, text: str, *, add_special_tokens: bool) -> list[TokenSpan]:
        ids = self.encode(text, add_special_tokens=add_special_tokens)
        spelled = self.encode(text, add_special_tokens=False)
        spans = [TokenSpan(BOS, 0, 0)] * (len(ids) - len(spelled))
        ends = [0]
        for token_id in spelled:
            ends.append(ends[-1] + len(self.token_bytes(token_id)))
        chars = [len(text.encode()[:end].decode(errors="ignore")) for end in ends]
        for token_id, start, stop in zip(spelled, chars, chars[1:], strict=False):
            spans.append(TokenSpan(token_id, start, max(stop, start + 1)))
        return spans

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < BOS:
            return bytes([token_id]) if token_id >= 0 else b""
        return {i: text.encode() for text, i in SPECIALS.items()}.get(token_id, b"")

    def is_special(self, token_id: int) -> bool:
        return token_id in SPECIALS.values()

    def render_chat(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> str:
        """`<s>` and a line per message; refuses roles it does not know as templates do."""
        lines = [join_parts(message) for message in normalize_messages(messages)]
        for line in lines:
            if line["role"] not in ROLES:
                raise InvalidRequest(
                    f"unknown role {line['role']}", param="messages", code="invalid_template"
                )
        tools = "".join(f"tool: {tool['function']['name']}\n" for tool in options.tools or ())
        said = "".join(f"{line['role']}: {line['content']}\n" for line in lines)
        if options.template is not None:  # one that is told before what everybody says
            return options.template + said
        if options.continue_final_message:
            return f"<s>{tools}{said[:-1]}"
        return f"<s>{tools}{said}" + "assistant: " * options.add_generation_prompt


class MarkerTokenizer(ByteTokenizer):
    """A tokenizer of bytes that has some markers as special tokens."""

    def __init__(self, markers: Sequence[str]) -> None:
        self._ids = SPECIALS | {text: FIRST_MARKER + i for i, text in enumerate(markers)}
        self._texts = {token_id: text for text, token_id in self._ids.items()}
        self.vocab_size = FIRST_MARKER + len(markers)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(map(re.escape, self._ids))})", text):
            ids += [self._ids[piece]] if piece in self._ids else piece.encode()
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        return self._texts.get(token_id, "").encode() or super().token_bytes(token_id)

    def is_special(self, token_id: int) -> bool:
        return token_id in self._texts or super().is_special(token_id)


def limits(**changes: Any) -> EngineLimits:
    """Limits that fit ByteTokenizer."""
    defaults: dict[str, Any] = {
        "max_model_len": 4096,
        "vocab_size": ByteTokenizer.vocab_size,
        "eos_token_ids": ByteTokenizer.eos_ids,
        "max_logprobs": 20,
        "max_queued_requests": 64,
    }
    return EngineLimits(**{**defaults, **changes})


@dataclass
class _Run:
    request: Request
    script: list[int]
    chunks: Iterable[int]


@dataclass
class ScriptedEngine:
    """An engine that answers every request with the script, an end of sequence after it.

    What a constraint does not allow gives way to what it does.
    `chunks` are the sizes, in turn, of the deltas of one request (0 gives an empty delta). With
    `paused` it makes a step only for each `step()`. `fail_at` ends every request with an error at
    that step (the first is 0). `submit` raises `refuse`, and EngineBusy when `max_running`
    requests run. Logprobs, when asked for, are -1 - id / 1000; the alternatives are the token
    itself and the ids that follow.
    """

    script: Script
    chunks: Sequence[int] = (1,)
    limits: EngineLimits = field(default_factory=limits)
    paused: bool = False
    fail_at: int | None = None
    refuse: Exception | None = None
    max_running: int | None = None
    num_cached_tokens: int = 0
    fixed_health: EngineHealth | None = None
    submitted: list[Request] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    counted_as: list[FinishReason] = field(default_factory=list)  # the aborted ones
    num_steps: int = 0
    num_resets: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: dict[str, _Run] = {}
        self._allowed_steps = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="scripted-engine", daemon=True)

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None:
        self._deliver = deliver
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the thread; requests that still run are left without a last delta."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, request: Request) -> None:
        if self.refuse is not None:
            raise self.refuse
        script = self.script(request) if callable(self.script) else self.script
        with self._changed:
            if self._stopping:
                raise EngineFailed("the engine is shutting down")
            if len(self._runs) == self.max_running:
                raise EngineBusy("the queue is full", retry_after_s=2.0)
            self.submitted.append(request)
            run = _Run(request, [*script, min(self.limits.eos_token_ids)], cycle(self.chunks))
            self._runs[request.id] = run
            self._changed.notify_all()

    def abort(self, request_id: str, reason: FinishReason = FinishReason.ABORT) -> None:
        with self._changed:
            self.aborted.append(request_id)
            self.counted_as.append(reason)
            self._runs.pop(request_id, None)
            self._changed.notify_all()

    def step(self, count: int = 1) -> None:
        """Let a paused engine make this many steps; returns once they are delivered."""
        with self._changed:
            self._allowed_steps += count
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._allowed_steps == 0, timeout=5.0)

    def reset_prefix_cache(self) -> None:
        self.num_resets += 1

    def health(self) -> EngineHealth:
        return self.fixed_health or EngineHealth(
            alive=self._thread.is_alive(), failure=None, stalled_s=0.0
        )

    def metrics(self) -> EngineMetrics:
        """Those of an engine that nobody has used."""
        meter = Meter(max_model_len=self.limits.max_model_len, max_step_tokens=64)
        return EngineMetrics(
            sizes=FixedSizes(
                max_model_len=self.limits.max_model_len,
                max_batch_size=8,
                max_step_tokens=64,
                page_size=16,
                num_pages=256,
                prefix_cache=True,
            ),
            stats=EngineStats(
                running=0,
                waiting=0,
                used_pages=0,
                cached_pages=0,
                total_pages=256,
                totals=EngineTotals(),
            ),
            health=self.health(),
            histograms=meter.histograms,
            accepted=0,
            batch_max_tokens=0,
            failed_steps=meter.failed_steps,
            predicted_wait_s=0.0,
            compiled_after_ready=0,
        )

    @property
    def num_running(self) -> int:
        with self._changed:
            return len(self._runs)

    def _main(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._can_step)
                if self._stopping:
                    return
                deltas = [self._advance(run) for run in self._runs.values()]
                self._runs = {d.request_id: self._runs[d.request_id] for d in deltas if _runs_on(d)}
                self.num_steps += 1
            if deltas:
                self._deliver(deltas)
            with self._changed:
                self._allowed_steps = max(0, self._allowed_steps - 1)
                self._changed.notify_all()

    def _can_step(self) -> bool:
        return self._stopping or self._allowed_steps > 0 or bool(self._runs and not self.paused)

    def _advance(self, run: _Run) -> TokenDelta:
        request = run.request
        if self.fail_at == self.num_steps:
            error = "scripted failure"
            return TokenDelta(request_id=request.id, finish_reason=FinishReason.ERROR, error=error)
        drawn: list[int] = []
        scores = () if request.output_ids else self._prompt_scores(request)
        reason, stop_token_id = None, None
        for _ in range(next(iter(run.chunks))):
            request.output_ids.append(_next_token(run))
            if request.constraint is not None:
                request.constraint.advance(request.output_ids[-1])
            drawn.append(request.output_ids[-1])
            reason, stop_token_id = reason_to_end(request, self.limits.eos_token_ids)
            if reason is not None:
                break
        return TokenDelta(
            request_id=request.id,
            token_ids=tuple(drawn),
            logprobs=self._logprobs(request, drawn),
            finish_reason=reason,
            stop_token_id=stop_token_id,
            last_is_output=reason is FinishReason.STOP
            and stop_token_id is None
            and drawn[-1] not in self.limits.eos_token_ids,
            num_cached_tokens=self.num_cached_tokens,
            prompt_logprobs=scores,
        )

    def _prompt_scores(self, request: Request) -> tuple[TokenLogprob, ...]:
        count = request.params.prompt_logprobs
        if count is None:
            return ()
        scored = (self._logprob(token_id, count) for token_id in request.prompt_ids[1:])
        return tuple(replace(entry, rank=1) for entry in scored)

    def _logprobs(self, request: Request, drawn: list[int]) -> tuple[TokenLogprob, ...]:
        count = request.params.logprobs
        if count is None:
            return ()
        return tuple(self._logprob(token_id, count) for token_id in drawn)

    def _logprob(self, token_id: int, count: int) -> TokenLogprob:
        top = [(token_id + i) % self.limits.vocab_size for i in range(count)]
        pairs = tuple((i, -1.0 - i / 1000) for i in top)
        return TokenLogprob(token_id=token_id, logprob=-1.0 - token_id / 1000, top=pairs)


def _next_token(run: _Run) -> int:
    """The script's token; one that brings an end nearer once a constraint forbade what it says."""
    request, num_output = run.request, len(run.request.output_ids)
    scripted = run.script[num_output % len(run.script)]
    if request.constraint is None:
        return scripted
    bits = int.from_bytes(request.constraint.next_mask(), "little")
    as_scripted = request.output_ids == run.script[:num_output]
    wanted = (*((scripted,) if as_scripted else ()), EOS, *b'"}],:1')
    allowed = (
        token_id for token_id in (*wanted, *range(bits.bit_length())) if bits >> token_id & 1
    )
    return next(allowed)


def _runs_on(delta: TokenDelta) -> bool:
    return delta.finish_reason is None
