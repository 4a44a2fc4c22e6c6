"""Times are those of text, tokens those of usage, and what goes wrong has a name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from jaxserve.bench.client import CHAT, Answer, Client, Endpoint, Manner, Question
from jaxserve.bench.flavors import FLAVORS
from jaxserve.bench.http import Address
from jaxserve.errors import ConfigError
from tests.bench.app import Respond, WordServer, choice, events, streamed
from tests.server.apps import live_app

QUESTION = Question(messages=({"role": "user", "content": "one two"},), max_tokens=5)


def ask(
    respond: Respond | None = None,
    *,
    count: int = 1,
    timeout_s: float = 10.0,
    endpoint: Endpoint = CHAT,
) -> list[Answer]:
    with live_app(WordServer(respond).app()) as (url, _):
        return asyncio.run(_ask(url, count, timeout_s, endpoint))


async def _ask(url: str, count: int, timeout_s: float, endpoint: Endpoint) -> list[Answer]:
    manner = Manner(
        endpoint=endpoint,
        model="words",
        flavor=FLAVORS["jaxserve"],
        ignore_eos=True,
        headers={"x-more": "1"},
        sampling={},
        timeout_s=timeout_s,
    )
    client = Client(Address.parse(url), manner)
    answers = [await client.ask(QUESTION) for _ in range(count)]
    client.close()
    return answers


def test_tokens_are_counted_by_usage_and_times_by_pieces() -> None:
    for answer in ask(count=3):  # over one kept connection
        assert answer.error is None
        assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens) == (9, 5, 3)
        assert len(answer.piece_s) == 3
        assert answer.text.split() == ["word"] * 5
        assert answer.sent_s < answer.piece_s[0] <= answer.piece_s[-1] <= answer.ended_s


def test_lines_may_end_as_on_windows() -> None:
    (answer,) = ask(lambda body: streamed(events(body), end="\r\n\r\n"))
    assert (answer.error, answer.output_tokens) == (None, 5)


def test_completions_and_reasoning_are_text_too() -> None:
    def texts(body: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
        yield {"choices": [{"index": 0, "text": "a"}]}
        yield choice({"reasoning_content": "b"})
        yield {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
        yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}

    (answer,) = ask(lambda body: streamed(texts(body)), endpoint="/v1/completions")
    assert (answer.error, answer.text, len(answer.piece_s)) == (None, "ab", 2)


def without(*, last: int) -> Respond:
    return lambda body: streamed(iter(list(events(body))[:-last]))


def failing(body: dict[str, Any]) -> Response:
    return streamed(iter([choice({"content": "a"}), {"error": {"message": "the engine failed"}}]))


@pytest.mark.parametrize(
    ("respond", "says"),
    [
        (lambda _: JSONResponse({"error": {"message": "full"}}, 429), "HTTP 429: full"),
        (lambda _: PlainTextResponse("oh\nno", 500), "HTTP 500: oh no"),
        (failing, "an error in the stream: the engine failed"),
        (without(last=3), "the stream ended before the answer was finished"),
        (without(last=2), "the stream told no usage"),
        (lambda _: streamed(iter(["{"])), "an event of the stream is not JSON"),
    ],
)
def test_what_goes_wrong_is_named(respond: Respond, says: str) -> None:
    first, second = ask(respond, count=2)
    assert first.error is not None and first.error.startswith(says)
    assert second.error == first.error


def test_an_answer_that_never_ends_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (answer,) = asyncio.run(_ask(url, 1, 0.05, CHAT))
    assert answer.error == "no end of the answer in 0.05 s"


def test_nobody_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (answer,) = asyncio.run(_ask(url, 1, 5.0, CHAT))
    assert answer.error is not None and answer.error.startswith("ConnectionRefusedError")


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("http://h:8000", "http://h:8000"),
        ("h:8000/v1/", "http://h:8000"),
        ("https://h/api/v1", "https://h:443/api"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_may_end_with_v1_or_not(url: str, full: str) -> None:
    assert Address.parse(url).url == full


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        Address.parse("ftp://h")
