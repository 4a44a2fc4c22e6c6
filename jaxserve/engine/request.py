"""What a request is to the engine: token ids, sampling params, progress, and what comes back.

Plain values only: no text, no arrays, no clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from jaxserve.engine.constraint import Constraint


class FinishReason(enum.StrEnum):
    """Why a request ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to draw tokens and when to stop; every value already validated.

    Temperature 0 is greedy and ignores top_k, top_p, typical_p and min_p. `top_k` 0 is off.
    `seed` None means the engine picks one. `logprobs` is None for none, else how many
    alternatives come with the chosen token (0 to `EngineLimits.max_logprobs`); `prompt_logprobs`
    the same for the tokens of the prompt, which is then computed in full, whatever the prefix
    cache has. Only `allowed_token_ids` are drawn, unless it is None.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: frozenset[int] | None = None
    seed: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0 or self.top_k == 1

    @property
    def has_bias(self) -> bool:
        return bool(self.logit_bias) or self.allowed_token_ids is not None

    @property
    def needs_token_counts(self) -> bool:
        return (
            self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or self.repetition_penalty != 1.0
        )

    @property
    def needs_slot_table(self) -> bool:
        """Whether the device has to keep anything of these for as long as a request has a slot."""
        return self.needs_token_counts or self.has_bias or self.min_tokens > 0


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A request and its progress. Owned by the scheduler once added.

    `num_computed_tokens` is the one progress number: tokens whose KV is in the cache, or will be
    once the steps in flight have run. It chases `num_tokens`. `num_pending` counts tokens that
    were sampled by steps in flight and are not known to the host yet; they come after
    `token_ids`.

    `mask` is what the constraint allows as the next token (`Constraint.next_mask`), or None until
    that is known: it needs the token before. It is set from another thread than the engine's.
    """

    id: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    adapter: int = 0  # whose weights are added; counted from 1, 0 is the model as it is
    cache_salt: str = ""
    constraint: Constraint | None = None
    mask: bytes | None = None
    output_ids: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    num_pending: int = 0
    num_cached_tokens: int | None = None  # prompt tokens found computed at first admission
    num_preemptions: int = 0
    slot: int | None = None
    pages: list[int] = field(default_factory=list)
    page_hashes: list[bytes] = field(default_factory=list)  # of the full pages, in order
    prompt_scores: list[TokenLogprob] = field(default_factory=list)  # from the second token on
    finish_reason: FinishReason | None = None
    is_greedy: bool = field(init=False)  # wants the likeliest token, of raw logits, and no more

    def __post_init__(self) -> None:
        params = self.params
        self.is_greedy = (
            params.temperature <= 0
            and params.logprobs is None
            and self.constraint is None
            and not params.needs_slot_table
        )

    @property
    def num_tokens(self) -> int:
        """Prompt and output, pending tokens included."""
        return len(self.prompt_ids) + len(self.output_ids) + self.num_pending

    def token_at(self, index: int) -> int | None:
        """The token at `index` of prompt + output; None while it is pending."""
        num_prompt = len(self.prompt_ids)
        if index < num_prompt:
            return self.prompt_ids[index]
        index -= num_prompt
        return self.output_ids[index] if index < len(self.output_ids) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """Log-probability of one token, before temperature, penalties and masks.

    `top` holds the most likely (token id, logprob), best first; the chosen token's entry there,
    if any, is the same double as `logprob`. `rank` counts from 1, the likeliest; known of prompt
    tokens only.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    rank: int | None = None


@dataclass(slots=True, kw_only=True)
class TokenDelta:
    """What one step gave one request. Made for every token, so it is not frozen: that takes longer.

    `finish_reason` is set on the last delta of a request and only there. `stop_token_id` is the
    member of `stop_token_ids` that ended it (None for the model's own end of sequence).
    `prompt_logprobs` come with the first token, one for each of the prompt but its first.
    `last_is_output` says that the constraint ended it, so that the last token is output like those
    before it and no end of sequence. `error` is set with FinishReason.ERROR.
    """

    request_id: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # one per token id when asked for, else empty
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    last_is_output: bool = False
    num_cached_tokens: int = 0
    queued_s: float = 0.0  # from its coming in to its first step; with the first token
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What the engine was built for; requests are checked against it before they are submitted."""

    max_model_len: int  # most tokens of prompt and output together
    vocab_size: int  # ids the tokenizer knows; larger ones are refused and never sampled
    eos_token_ids: frozenset[int]
    max_logprobs: int
    max_queued_requests: int  # beside those that have a slot
    max_concurrent_requests: int | None = None  # that run or wait; None: no limit of its own
    max_concurrent_tokens: int | None = None  # in the prompts of all that run or wait
    max_input_tokens: int | None = None  # of a prompt; None: all that leave room for an answer
