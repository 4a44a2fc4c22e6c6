"""What are the tokens of a text, and the text of tokens? Four families' questions on three paths.

The first key a body has of `inputs` (TGI), `prompt` or `messages` (vLLM) and `content` (llama.cpp)
decides how it is read, how it is answered and how errors are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, Field
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.errors import InvalidRequest
from jaxserve.server.bodies import JSONBody, read_object
from jaxserve.server.error_styles import OPENAI, tell_errors_as
from jaxserve.server.fields import Bool, Int, Object, Str, WireModel
from jaxserve.server.messages import ChatMessage, Tool, distinct
from jaxserve.server.openai.chat import chat_options, trusted_template
from jaxserve.server.parsing import parse_body, unsupported, wrong
from jaxserve.server.schema import Template, parse_chat
from jaxserve.server.state import ServerState, state_of
from jaxserve.server.tgi.schema import parse_tokenize
from jaxserve.text.chat import ChatOptions
from jaxserve.text.delta import printable_token
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.prompt import check_token_ids
from jaxserve.text.tokenizer import TokenSpan


class TextBody(WireModel):
    """vLLM's question about a text."""

    model: Str = ""
    prompt: Str
    add_special_tokens: Bool = True
    return_token_strs: Bool = False


class ConversationBody(WireModel):
    """vLLM's question about a conversation."""

    model: Str = ""
    messages: Annotated[list[ChatMessage], FailFast(), Field(min_length=1)]
    add_generation_prompt: Bool | None = None
    continue_final_message: Bool = False
    add_special_tokens: Bool = False
    tools: Annotated[list[Tool], FailFast(), AfterValidator(distinct)] = Field(default_factory=list)
    chat_template: Template | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
    return_token_strs: Bool = False

    def check(self) -> None:
        if self.add_generation_prompt and self.continue_final_message:
            raise wrong("add_generation_prompt", "can not be true with continue_final_message")


class ContentBody(WireModel):
    """llama.cpp's question about a text."""

    content: Str
    add_special: Bool = False
    parse_special: Bool = True
    with_pieces: Bool = False

    def check(self) -> None:
        if not self.parse_special:
            raise unsupported("parse_special", "must be true: special tokens in text are read")


class DetokenizeBody(WireModel):
    """vLLM's and llama.cpp's question about tokens."""

    model: Str = ""
    tokens: Annotated[list[Int], FailFast()]


async def tokenize(request: Request) -> Response:
    """The tokens of a text or a conversation."""
    raw = await read_object(request)
    state = state_of(request)
    given = {name for name, value in raw.items() if value is not None}
    if "inputs" in given:
        return JSONBody(await _spans(state, raw))
    if not given & {"prompt", "messages", "content"}:
        raise InvalidRequest("the body must have inputs, prompt, messages or content")
    tell_errors_as(OPENAI, request.scope)
    if "prompt" in given:
        return JSONBody(await _text_ids(state, parse_body(raw, TextBody)))
    if "messages" in given:
        return JSONBody(await _conversation_ids(state, parse_body(raw, ConversationBody)))
    return JSONBody(await _content_ids(state, parse_body(raw, ContentBody)))


async def chat_tokenize(request: Request) -> Response:
    """The text that the chat template makes of a chat request, and its tokens."""
    generator = state_of(request).generator
    body = parse_chat(await read_object(request))
    state_of(request).model.resolve(body.model)
    messages = [message.model_dump(exclude_unset=True) for message in body.messages]
    options = chat_options(body, state_of(request).api)
    text = await generator.render_chat(messages, options)
    spans = await generator.encode_spans(
        text, add_special_tokens=options.add_special_tokens, param="messages"
    )
    return JSONBody({"tokenize_response": _told(text, spans), "templated_text": text})


async def apply_template(request: Request) -> Response:
    """The text that the chat template makes of a chat request."""
    state = state_of(request)
    body = parse_chat(await read_object(request))
    state.model.resolve(body.model)
    messages = [message.model_dump(exclude_unset=True) for message in body.messages]
    text = await state.generator.render_chat(messages, chat_options(body, state.api))
    return JSONBody({"prompt": text})


async def detokenize(request: Request) -> Response:
    """The text of tokens."""
    """The text of token ids, special tokens spelled out."""
    state = state_of(request)
    body = parse_body(await read_object(request), DetokenizeBody)
    state.model.resolve(body.model)
    check_token_ids(body.tokens, state.text.limits.vocab_size, param="tokens")
    detokenizer = Detokenizer(state.text.tokenizer, skip_special_tokens=False)
    text = "".join(map(detokenizer.push, body.tokens)) + detokenizer.flush()
    return JSONBody({"prompt": text, "content": text})


async def _spans(state: ServerState, raw: dict[str, Any]) -> list[dict[str, Any]]:
    body = parse_tokenize(raw)
    spans = await state.text.encode_spans(body.inputs, param="inputs")
    kept = body.parameters.truncate
    return _told(body.inputs, spans if kept is None else spans[-kept:])


async def _text_ids(state: ServerState, body: TextBody) -> dict[str, Any]:
    state.model.resolve(body.model)
    ids = await state.text.encode_text(body.prompt, add_special_tokens=body.add_special_tokens)
    return _counted(state, ids, with_strings=body.return_token_strs)


async def _conversation_ids(state: ServerState, body: ConversationBody) -> dict[str, Any]:
    state.model.resolve(body.model)
    opens_answer = not body.continue_final_message
    if body.add_generation_prompt is not None:
        opens_answer = body.add_generation_prompt
    options = ChatOptions(
        tools=[tool.plain() for tool in body.tools],
        add_generation_prompt=opens_answer,
        continue_final_message=body.continue_final_message,
        add_special_tokens=body.add_special_tokens,
        template_kwargs=body.chat_template_kwargs,
        merge_system_messages=state.api.merge_system_messages,
        template=trusted_template(body.chat_template, state.api),
    )
    messages = [message.model_dump(exclude_unset=True) for message in body.messages]
    ids = await state.generator.encode_chat(messages, options)
    return _counted(state, ids, with_strings=body.return_token_strs)


async def _content_ids(state: ServerState, body: ContentBody) -> dict[str, Any]:
    ids = await state.text.encode_text(
        body.content, add_special_tokens=body.add_special, param="content"
    )
    if not body.with_pieces:
        return {"tokens": ids}
    token_bytes = state.text.tokenizer.token_bytes
    return {
        "tokens": [{"id": token_id, "piece": _piece(token_bytes(token_id))} for token_id in ids]
    }


def _counted(state: ServerState, ids: Sequence[int], *, with_strings: bool) -> dict[str, Any]:
    token_bytes = state.text.tokenizer.token_bytes
    strings = [printable_token(token_bytes(token_id)) for token_id in ids]
    return {
        "count": len(ids),
        "max_model_len": state.text.limits.max_model_len,
        "tokens": ids,
        "token_strs": strings if with_strings else None,
    }


def _told(text: str, spans: Sequence[TokenSpan]) -> list[dict[str, Any]]:
    return [
        {
            "id": span.token_id,
            "text": text[span.start : span.stop],
            "start": span.start,
            "stop": span.stop,
        }
        for span in spans
    ]


def _piece(token_bytes: bytes) -> str | list[int]:
    try:
        return token_bytes.decode()
    except UnicodeDecodeError:
        return list(token_bytes)
