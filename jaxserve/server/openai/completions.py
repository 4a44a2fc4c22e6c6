"""How does POST /v1/completions answer?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.generate import TextDelta
from jaxserve.server.answers import Answer, Choice, Frame, Piece, collected_ids, finishing
from jaxserve.server.generation import start_generation
from jaxserve.server.logprobs import TextOffsets, completion_logprobs
from jaxserve.server.schema import CompletionBody, Prompt, parse_completion
from jaxserve.server.serving import Dialect, serve, text_request
from jaxserve.server.state import ServerState
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.prompt import check_token_ids
from jaxserve.text.tokenizer import Tokenizer

DEFAULT_MAX_TOKENS = 16


async def completions(request: Request) -> Response:
    return await serve(request, COMPLETIONS)


async def _start(state: ServerState, body: CompletionBody, frame: Frame) -> Answer:
    choices: list[Choice] = []
    requests = []
    for prompt in body.prompt:
        await asyncio.sleep(0)  # short prompts are encoded right here; let others go between them
        prompt_ids = await _encode(state, body, prompt)
        num_fitting = state.max_tokens(
            len(prompt_ids), body.max_tokens, by_api=DEFAULT_MAX_TOKENS, param="prompt"
        )
        request = text_request(
            state,
            body,
            id=frame.id,
            prompt_ids=prompt_ids,
            max_tokens=num_fitting,
            num_logprobs=body.logprobs,
        )
        requests.append(request)
        opening = _opening(state.generator.tokenizer, body, prompt, prompt_ids)
        for _ in range(body.n):
            choices.append(CompletionChoice(len(choices), body, opening))
    generation = start_generation(state.generator, requests, param="prompt")
    return Answer(frame=frame, generation=generation, choices=choices, options=body.stream_options)


async def _encode(state: ServerState, body: CompletionBody, prompt: Prompt) -> Sequence[int]:
    if not isinstance(prompt, str):
        check_token_ids(prompt, state.generator.limits.vocab_size, param="prompt")
        return prompt
    special = body.add_special_tokens is not False
    return await state.generator.encode_text(prompt, add_special_tokens=special)


def _opening(
    tokenizer: Tokenizer, body: CompletionBody, prompt: Prompt, prompt_ids: Sequence[int]
) -> Piece:
    """What a choice tells before anything is generated; nothing unless it was asked for."""
    opening: Piece = {}
    if body.echo:
        opening["text"] = prompt if isinstance(prompt, str) else _decode(tokenizer, body, prompt)
    if body.return_token_ids:
        opening["prompt_token_ids"] = list(prompt_ids)
    return opening


def _decode(tokenizer: Tokenizer, body: CompletionBody, token_ids: Sequence[int]) -> str:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=body.skip_special_tokens)
    return "".join(map(detokenizer.push, token_ids)) + detokenizer.flush()


class CompletionChoice:
    """One sequence as plain text."""

    def __init__(self, index: int, body: CompletionBody, opening: Piece) -> None:
        self._index = index
        self._body = body
        self._opening = opening
        self._offsets = TextOffsets()

    def pieces(self, delta: TextDelta) -> Iterable[Piece]:
        """The opening once, then text, then the finish on its own."""
        if self._opening:
            yield self._piece("") | self._opening
            self._opening = {}
        shows_ids = self._body.return_token_ids and delta.token_ids
        if delta.text or delta.logprobs or shows_ids:
            yield self._told(delta)
        if delta.finish_reason is not None:
            yield self._piece("") | finishing(delta)

    def whole(self, pieces: list[Piece]) -> Piece:
        whole = pieces[-1] | {"text": "".join(piece["text"] for piece in pieces)}
        if self._body.logprobs is not None:
            parts = [piece["logprobs"] for piece in pieces if piece["logprobs"]]
            empty = completion_logprobs((), self._offsets, as_ids=False)
            whole["logprobs"] = {
                name: [value for part in parts for value in part[name]] for name in empty
            }
        if self._body.return_token_ids:
            whole["token_ids"] = collected_ids(pieces)
            whole["prompt_token_ids"] = pieces[0]["prompt_token_ids"]
        return whole

    def _told(self, delta: TextDelta) -> Piece:
        piece = self._piece(delta.text)
        if delta.logprobs:
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
