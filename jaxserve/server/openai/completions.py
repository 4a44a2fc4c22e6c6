"""How does POST /v1/completions answer?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.generate import TextDelta, TextLogprob
from jaxserve.server.answers import Answer, Choice, Frame, Piece, collected_ids, finishing
from jaxserve.server.generation import start_generation
from jaxserve.server.logprobs import TextOffsets, completion_logprobs, prompt_logprobs
from jaxserve.server.openai.echo import Echo, echo_ids, echo_text
from jaxserve.server.parsing import wrong
from jaxserve.server.schema import CompletionBody, Prompt, parse_completion
from jaxserve.server.serving import (
    Dialect,
    held_to,
    serve,
    stream_options,
    text_request,
    truncation,
)
from jaxserve.server.state import ServerState
from jaxserve.text.prompt import check_token_ids
from jaxserve.text.tokenizer import Tokenizer

DEFAULT_MAX_TOKENS = 16


async def completions(request: Request) -> Response:
    """Continue prompts."""
    return await serve(request, COMPLETIONS)


async def _start(state: ServerState, body: CompletionBody, frame: Frame) -> Answer:
    most = state.tgi.max_client_batch_size
    if len(body.prompt) > most:
        raise wrong("prompt", f"has {len(body.prompt)} prompts; this server takes at most {most}")
    choices: list[Choice] = []
    requests = []
    for prompt in body.prompt:
        await asyncio.sleep(0)  # short prompts are encoded right here; let others go between them
        prompt_ids = await _encode(state, body, prompt)
        asked = 1 if body.only_scores else body.max_tokens
        num_fitting = state.max_tokens(
            len(prompt_ids), asked, by_api=DEFAULT_MAX_TOKENS, param="prompt"
        )
        request = text_request(
            state,
            body,
            id=frame.id,
            prompt_ids=prompt_ids,
            max_tokens=num_fitting,
            num_logprobs=body.logprobs,
        )
        requests.append(await held_to(state, request, body.form))
        echo = _echo(state.generator.tokenizer, body, prompt, prompt_ids)
        for _ in range(body.num_samples):
            choices.append(CompletionChoice(len(choices), body, prompt_ids, echo))
    generation = start_generation(
        state.generator, requests, param="prompt", only_scores=body.only_scores
    )
    return Answer(
        frame=frame,
        generation=generation,
        choices=choices,
        options=stream_options(state, body),
        num_kept=body.n,
    )


async def _encode(state: ServerState, body: CompletionBody, prompt: Prompt) -> Sequence[int]:
    kept = truncation(state, body, body.max_tokens)
    if not isinstance(prompt, str):
        check_token_ids(prompt, state.generator.limits.vocab_size, param="prompt")
        return prompt if kept is None else kept.cut(prompt)
    special = body.add_special_tokens is not False
    return await state.generator.encode_text(prompt, add_special_tokens=special, truncation=kept)


def _echo(
    tokenizer: Tokenizer, body: CompletionBody, prompt: Prompt, prompt_ids: Sequence[int]
) -> Echo | None:
    if not body.echo or not prompt_ids:
        return None
    if isinstance(prompt, str) and body.truncate_prompt_tokens is None:
        return echo_text(tokenizer, prompt, prompt_ids)
    return echo_ids(tokenizer, prompt_ids, skip_special_tokens=body.skip_special_tokens)


class CompletionChoice:
    """One sequence as plain text."""

    def __init__(
        self, index: int, body: CompletionBody, prompt_ids: Sequence[int], echo: Echo | None
    ) -> None:
        self._index = index
        self._body = body
        self._prompt_ids = prompt_ids
        self._echo = echo
        self._opened = False
        self._offsets = TextOffsets(len(echo.text) if echo else 0)

    def pieces(self, delta: TextDelta) -> Iterable[Piece]:
        """What is told of the prompt once, then text, then the finish on its own."""
        opening = {} if self._opened else self._opening(delta.prompt_logprobs)
        self._opened = True
        if opening:
            yield self._piece("") | opening
        shows_ids = self._body.return_token_ids and delta.token_ids
        if delta.text or self._shows_logprobs(delta) or shows_ids:
            yield self._told(delta)
        if delta.finish_reason is not None:
            yield self._piece("") | finishing(delta)

    def whole(self, pieces: list[Piece]) -> Piece:
        whole = pieces[0] | pieces[-1] | {"text": "".join(piece["text"] for piece in pieces)}
        if self._body.logprobs is not None:
            parts = [piece["logprobs"] for piece in pieces if piece["logprobs"]]
            empty = completion_logprobs((), self._offsets, as_ids=False)
            whole["logprobs"] = {
                name: [value for part in parts for value in part[name]] for name in empty
            }
        if self._body.return_token_ids:
            whole["token_ids"] = collected_ids(pieces)
        return whole

    def _opening(self, scores: Sequence[TextLogprob]) -> Piece:
        """What is told before anything that was generated; nothing unless it was asked for."""
        opening: Piece = {}
        if self._echo is not None:
            opening["text"] = self._echo.text
            if self._body.logprobs is not None:
                opening["logprobs"] = self._echo.logprobs(
                    scores, self._body.logprobs, as_ids=self._body.return_tokens_as_token_ids
                )
        if self._body.return_token_ids:
            opening["prompt_token_ids"] = list(self._prompt_ids)
        if self._body.prompt_logprobs is not None:
            opening["prompt_logprobs"] = prompt_logprobs(self._prompt_ids, scores)
        return opening

    def _shows_logprobs(self, delta: TextDelta) -> bool:
        return bool(delta.logprobs) and self._body.logprobs is not None

    def _told(self, delta: TextDelta) -> Piece:
        piece = self._piece(delta.text)
        if self._shows_logprobs(delta):
            as_ids = self._body.return_tokens_as_token_ids
            piece["logprobs"] = completion_logprobs(delta.logprobs, self._offsets, as_ids=as_ids)
        if self._body.return_token_ids:
            piece["token_ids"] = delta.token_ids
        return piece

    def _piece(self, text: str) -> Piece:
        return {"index": self._index, "text": text, "logprobs": None, "finish_reason": None}


COMPLETIONS = Dialect(
    id_prefix="cmpl-",
    object="text_completion",
    chunk_object="text_completion",
    parse=parse_completion,
    start=_start,
)
