"""What followed the same tokens before."""

from __future__ import annotations

from jaxserve.engine.lookup import Lookup


def lookup(*token_ids: int, shortest: int = 2, longest: int = 4) -> Lookup:
    return Lookup(token_ids, shortest=shortest, longest=longest)


def test_what_followed_a_match_is_found() -> None:
    assert lookup(1, 2, 3, 4, 5, 9, 1, 2).following(3) == (3, 4, 5)


def test_without_a_match_there_is_nothing() -> None:
    assert lookup().following(3) == ()
    assert lookup(1).following(3) == ()
    assert lookup(1, 2, 3, 4).following(3) == ()
    assert lookup(5, 2, 3, 6, 2).following(3) == ()  # one token alike is too few


def test_the_longest_match_wins_over_a_later_one() -> None:
    ids = (7, 1, 2, 30, 8, 1, 2, 40, 7, 1, 2)
    assert lookup(*ids).following(1) == (30,)
    assert lookup(*ids, longest=2).following(1) == (40,)


def test_what_repeats_goes_on_past_the_end() -> None:
    assert lookup(5, 6, 7, 5, 6).following(5) == (7, 5, 6, 7, 5)
    assert lookup(4, 4, 4).following(3) == (4, 4, 4)


def test_it_grows_with_the_sequence() -> None:
    grown = lookup(1, 2, 3)
    assert grown.following(1) == ()
    for token_id in (1, 2):
        grown.add(token_id)
    assert grown.following(2) == (3, 1)
    assert len(grown) == 5
