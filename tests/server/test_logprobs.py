"""Log-probabilities in OpenAI's two formats."""

from __future__ import annotations

from jaxserve.generate import TextLogprob
from jaxserve.server.logprobs import TextOffsets, chat_logprobs, completion_logprobs


def entry(token: str, logprob: float, *top: TextLogprob, token_id: int = 1) -> TextLogprob:
    return TextLogprob(
        token_id=token_id, token=token, token_bytes=token.encode(), logprob=logprob, top=top
    )


def test_chat_may_leave_the_chosen_token_out_of_the_alternatives() -> None:
    best = entry("b", -0.5)
    (told,) = chat_logprobs([entry("a", -2.0, best)], as_ids=False)["content"]
    assert told == {
        "token": "a",
        "logprob": -2.0,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -0.5, "bytes": [98]}],
    }


def test_completions_add_the_chosen_token_to_the_alternatives() -> None:
    chosen = entry("a", -2.0, entry("b", -0.5))
    told = completion_logprobs([chosen], TextOffsets(), as_ids=False)
    assert told["top_logprobs"] == [{"b": -0.5, "a": -2.0}]
    assert told["token_logprobs"] == [-2.0]


def test_of_two_ids_with_one_text_the_likelier_stays() -> None:
    chosen = entry("a", -2.0, entry("a", -0.5, token_id=7), entry("a", -3.0, token_id=8))
    told = completion_logprobs([chosen], TextOffsets(), as_ids=False)
    assert told["top_logprobs"] == [{"a": -0.5}]
    by_id = completion_logprobs([chosen], TextOffsets(), as_ids=True)
    assert by_id["top_logprobs"] == [{"token_id:7": -0.5, "token_id:8": -3.0, "token_id:1": -2.0}]


def test_offsets_count_characters_over_tokens_that_split_them() -> None:
    offsets = TextOffsets()
    tokens = [b"a", "é".encode()[:1], "é".encode()[1:], "日本".encode(), b"", b"!"]
    assert [offsets.advance(token) for token in tokens] == [0, 1, 1, 2, 4, 4]
