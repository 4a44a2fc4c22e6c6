"""Can this request ever be served, and is there a place for it in the queue?

Knows nothing of what is running, and keeps no state. What passes `check` can be served as soon as
there is room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxserve.engine.backlog import Backlog
from jaxserve.engine.request import EngineLimits, Request, SamplingParams
from jaxserve.errors import ContextLengthExceeded, EngineBusy, InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The door of the engine: fixed sizes, so it may be asked from any thread."""

    limits: EngineLimits
    max_batch_size: int
    num_pages: int
    page_size: int

    def check(self, request: Request) -> None:
        """Raise InvalidRequest or ContextLengthExceeded for what can never be served."""
        if not request.prompt_ids:
            raise InvalidRequest("the prompt is empty; give at least one token", param="prompt")
        check_ids(request.prompt_ids, self.limits.vocab_size, "prompt")
        _check_params(request.params, self.limits)
        num_prompt, max_tokens = len(request.prompt_ids), request.params.max_tokens
        _check_input(num_prompt, self.limits)
        _check_length(num_prompt, max_tokens, self.limits.max_model_len)
        self._check_pages(num_prompt, max_tokens)

    def check_room(self, request: Request, unfinished: Backlog) -> None:
        """Raise EngineBusy, or InvalidRequest for an id in use, unless one more fits.

        Slots count besides the places of the queue: a burst that meets an idle engine only waits
        for the next step. A prompt longer than all that may wait together comes in alone.
        """
        if request.id in unfinished:
            raise InvalidRequest(f"a request with the id {request.id!r} is still unfinished")
        limit = self.limits.max_concurrent_requests
        if limit is not None and len(unfinished) >= limit:
            raise EngineBusy(
                f"the server is full: {len(unfinished)} requests run or wait, which is all that "
                "may; try again later"
            )
        num_tokens, most = unfinished.num_prompt_tokens, self.limits.max_concurrent_tokens
        if most is not None and num_tokens and num_tokens + len(request.prompt_ids) > most:
            raise EngineBusy(
                f"the queue is full: the prompts of the requests that run or wait have "
                f"{num_tokens} tokens, and with this one's {len(request.prompt_ids)} they would "
                f"have more than {most}; try again later"
            )
        if len(unfinished) >= self.max_batch_size + self.limits.max_queued_requests:
            raise EngineBusy(
                f"the queue is full: {len(unfinished)} requests run or wait, and at most "
                f"{self.limits.max_queued_requests} may wait beside {self.max_batch_size} that "
                "run; try again later"
            )

    def _check_pages(self, num_prompt: int, max_tokens: int) -> None:
        num_kv = num_prompt + max_tokens - 1  # the KV of the last token is never needed
        if num_kv > self.num_pages * self.page_size:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self.num_pages * self.page_size + 1} "
                f"tokens here: the KV cache has {self.num_pages} pages of {self.page_size}. "
                f"{num_prompt} in the prompt and {max_tokens} of max_tokens need "
                f"{-(-num_kv // self.page_size)} pages; lower max_tokens, shorten the prompt, or "
                "start the server with a larger num_pages.",
                param="max_tokens",
            )


def check_ids(token_ids: Sequence[int], vocab_size: int, param: str) -> None:
    """Raise InvalidRequest, which names `param`, for an id that the model has no row for."""
    for token_id in (min(token_ids, default=0), max(token_ids, default=0)):
        if not 0 <= token_id < vocab_size:
            raise InvalidRequest(
                f"token id {token_id} is outside the vocabulary; ids go from 0 to {vocab_size - 1}",
                param=param,
            )


def _check_params(params: SamplingParams, limits: EngineLimits) -> None:
    if params.max_tokens < 1:
        raise InvalidRequest(
            f"max_tokens is {params.max_tokens}; it must be at least 1", param="max_tokens"
        )
    for name in ("logprobs", "prompt_logprobs"):
        asked = getattr(params, name)
        if asked is not None and not 0 <= asked <= limits.max_logprobs:
            raise InvalidRequest(
                f"{name} is {asked}; 0 to {limits.max_logprobs} can be had", param=name
            )
    check_ids([token_id for token_id, _ in params.logit_bias], limits.vocab_size, "logit_bias")
    check_ids([*params.stop_token_ids], limits.vocab_size, "stop_token_ids")
    check_ids([*(params.allowed_token_ids or ())], limits.vocab_size, "allowed_token_ids")


def _check_input(num_prompt: int, limits: EngineLimits) -> None:
    if limits.max_input_tokens is not None and num_prompt > limits.max_input_tokens:
        raise ContextLengthExceeded(
            f"This server takes prompts of at most {limits.max_input_tokens} tokens, and the "
            f"prompt has {num_prompt}. Shorten it, or start the server with a larger "
            "max_input_tokens.",
            param="prompt",
        )


def _check_length(num_prompt: int, max_tokens: int, max_model_len: int) -> None:
    if num_prompt >= max_model_len:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {max_model_len} tokens. The prompt has "
            f"{num_prompt}, which leaves no room for an answer; shorten the prompt.",
            param="prompt",
        )
    if num_prompt + max_tokens > max_model_len:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {max_model_len} tokens. {num_prompt} in the "
            f"prompt and {max_tokens} of max_tokens make {num_prompt + max_tokens}; lower "
            f"max_tokens to {max_model_len - num_prompt} or shorten the prompt.",
            param="max_tokens",
        )
