"""Stop strings: found wherever text is split, nothing shown that a match would take back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxserve.text.stop_strings import StopMatch, StopMatcher


def shown(
    pieces: Sequence[str], stops: Sequence[str], *, include_stop: bool = False
) -> tuple[str, str | None]:
    """All the text that is let out, and the stop string that ended it."""
    matcher, text = StopMatcher(stops, include_stop=include_stop), ""
    for piece in pieces:
        out = matcher.push(piece)
        if isinstance(out, StopMatch):
            return text + out.text, out.stop
        text += out
    return text + matcher.flush(), None


def cut(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The same by trying every end: the first completed stop wins, then list order."""
    for end in range(len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


@pytest.mark.parametrize("first", range(13))
@pytest.mark.parametrize("second", range(13))
def test_a_stop_is_found_at_every_split(first: int, second: int) -> None:
    stop = "\n\n### User: "
    assert len(stop) == 12
    low, high = sorted((first, second))
    pieces = ["answer" + stop[:low], stop[low:high], stop[high:] + "more"]
    assert shown(pieces, [stop]) == ("answer", stop)
    assert shown(pieces, [stop], include_stop=True) == ("answer" + stop, stop)


def test_only_the_tail_that_may_become_a_stop_is_withheld() -> None:
    matcher = StopMatcher(["END", "\n\n"])
    assert matcher.push("text E") == "text "
    assert matcher.push("N") == ""
    assert matcher.push("T\n") == "ENT"
    assert matcher.push("x") == "\nx"
    assert matcher.flush() == ""


def test_text_after_a_stop_inside_a_token_never_shows() -> None:
    assert shown(['{"a": 1', "}\n\n more"], ["}"]) == ('{"a": 1', "}")
    assert shown(["a", "\n\n"], ["\n"]) == ("a", "\n")


def test_the_stop_that_completes_first_wins() -> None:
    assert shown(["abcdef"], ["bcde", "cd"]) == ("ab", "cd")


def test_list_order_breaks_ties() -> None:
    assert shown(["abc"], ["bc", "abc"]) == ("a", "bc")
    assert shown(["abc"], ["abc", "bc"]) == ("", "abc")


def test_a_stop_that_repeats_its_own_beginning_is_found() -> None:
    assert shown(list("aabaabaaab"), ["aabaaab"]) == ("aab", "aabaaab")


def test_withheld_text_is_flushed_at_the_end() -> None:
    assert shown(["abc", "EN"], ["END"]) == ("abcEN", None)


def test_without_stops_everything_goes_through() -> None:
    assert shown(["abc", ""], []) == ("abc", None)


def test_unarmed_a_complete_stop_is_text_and_a_begun_one_still_counts() -> None:
    matcher = StopMatcher(["stop"])
    assert matcher.push("a stop st", armed=False) == "a stop "
    assert matcher.push("op") == StopMatch("", "stop")


def test_a_stop_inside_what_was_withheld_unarmed_does_not_count_later() -> None:
    matcher = StopMatcher(["abc", "b"])
    assert matcher.push("ab", armed=False) == ""
    assert matcher.push("x") == "abx"


texts = st.lists(st.text("ab\n", max_size=6), max_size=12)


@given(texts, st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_split_gives_what_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    assert shown(pieces, stops) == cut("".join(pieces), stops)


@given(texts, st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=4))
def test_what_is_withheld_is_the_longest_possible_beginning(
    pieces: list[str], stops: list[str]
) -> None:
    matcher, text = StopMatcher(stops), "".join(pieces)
    out = "".join(str(matcher.push(piece, armed=False)) for piece in pieces)
    tails = [text[i:] for i in range(len(text)) if any(_begins(s, text[i:]) for s in stops)]
    assert text == out + max(tails, key=len, default="")


def _begins(stop: str, tail: str) -> bool:
    return len(tail) < len(stop) and stop.startswith(tail)
