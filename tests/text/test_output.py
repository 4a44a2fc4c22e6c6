"""A sequence's text, tokens and end do not depend on how the engine hands its tokens out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jaxserve.engine.request import FinishReason, TokenDelta, TokenLogprob
from jaxserve.text.delta import TextDelta, merge_deltas
from jaxserve.text.detokenizer import Detokenizer
from jaxserve.text.output import OutputText
from tests.text_fakes import EOS, ByteTokenizer

TOKENS = st.lists(st.sampled_from([*b"ab\n", 0xC3, 0xA9, 0xFF, 256]), max_size=20)
STOPS = st.lists(st.text("ab\né", min_size=1, max_size=4), max_size=3)


def output(
    stops: list[str], *, min_tokens: int = 0, include_stop: bool = False, skip_special: bool = True
) -> OutputText:
    detokenizer = Detokenizer(ByteTokenizer(), skip_special_tokens=skip_special)
    return OutputText(detokenizer, stops, include_stop=include_stop, min_tokens=min_tokens)


def deltas(ids: list[int], cuts: list[int], reason: FinishReason) -> list[TokenDelta]:
    """The ids cut into deltas at `cuts`; the last one has the reason."""
    bounds = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    parts = [ids[low:high] for low, high in pairwise(bounds)]
    return [
        TokenDelta(
            request_id="r",
            token_ids=tuple(part),
            logprobs=tuple(TokenLogprob(token_id=i, logprob=-i / 7) for i in part),
            finish_reason=reason if index == len(parts) - 1 else None,
        )
        for index, part in enumerate(parts)
    ]


def read(out: OutputText, given_deltas: list[TokenDelta]) -> TextDelta:
    got: list[TextDelta] = []
    for delta in given_deltas:
        got.append(out.add(delta))
        if got[-1].finish_reason is not None:
            break
    return merge_deltas(got)


@given(
    TOKENS,
    st.lists(st.integers(0, 100), max_size=6),
    STOPS,
    st.integers(0, 8),
    st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]),
    st.booleans(),
)
def test_any_cut_into_deltas_gives_the_same(
    ids: list[int],
    cuts: list[int],
    stops: list[str],
    min_tokens: int,
    reason: FinishReason,
    include_stop: bool,
) -> None:
    if reason is FinishReason.STOP:
        ids = [*ids, EOS]

    def fresh() -> OutputText:
        return output(stops, min_tokens=min_tokens, include_stop=include_stop)

    at_once = read(fresh(), deltas(ids, [], reason))
    assert read(fresh(), deltas(ids, cuts, reason)) == at_once
    assert at_once.finish_reason is not None
    assert at_once.token_ids == tuple(ids[: len(at_once.token_ids)])
    assert len(at_once.logprobs) == len(at_once.token_ids)
    if at_once.stop_reason is None:
        spelled = bytes(i for i in ids if i < 256).decode("utf-8", "replace")
        assert (at_once.text, at_once.token_ids) == (spelled, tuple(ids))


def test_min_tokens_passes_a_stop_at_3_and_takes_the_one_at_8() -> None:
    ids = list(b"ab|defg|ij")
    out = read(output(["|"], min_tokens=5), deltas(ids, [3, 5], FinishReason.LENGTH))
    assert (out.text, out.token_ids, out.stop_reason) == ("ab|defg", tuple(b"ab|defg|"), "|")


def test_a_stop_at_the_last_of_min_tokens_does_not_count() -> None:
    out = read(output(["|"], min_tokens=3), deltas(list(b"ab|d"), [], FinishReason.LENGTH))
    assert (out.text, out.finish_reason) == ("ab|d", FinishReason.LENGTH)


def test_a_stop_token_that_is_text_shows_only_when_stops_are_included() -> None:
    ended = deltas(list(b"ab."), [], FinishReason.STOP)
    assert read(output([]), ended).text == "ab"
    assert read(output([], include_stop=True), ended).text == "ab."


def test_the_token_that_ends_the_sequence_is_counted_even_if_alone() -> None:
    out = read(output([]), deltas([EOS], [], FinishReason.STOP))
    assert (out.text, out.token_ids) == ("", (EOS,))


def test_an_end_without_tokens_flushes_what_was_withheld() -> None:
    out = output(["END"])
    assert out.add(TokenDelta(request_id="r", token_ids=tuple(b"EN\xc3"))).text == ""
    last = out.add(TokenDelta(request_id="r", finish_reason=FinishReason.STOP))
    assert (last.text, last.token_ids) == ("EN\ufffd", ())
