"""Who gets a draft: rows that were right, where there is room, and where it pays."""

from __future__ import annotations

from jaxserve.engine.buckets import Buckets
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.speculation import Speculator
from jaxserve.engine.step import Row, Step
from tests.fakes import FakeConstraint

BUCKETS = Buckets.build(max_rows=4, token_budget=32, num_draft_tokens=3)


def speculator(*, verify_s: float = 1.0) -> Speculator:
    """One that has seen plain steps of a second, and steps that verify."""
    made = Speculator(BUCKETS, num_tokens=3, shortest=1, longest=3)
    for bucket in BUCKETS.decode:
        idle = [row(asked("idle", 1, 2)) for _ in range(bucket.num_rows)]
        for _ in range(4):
            made.note_time(Step(tuple(idle)), 1.0)
    for bucket in BUCKETS.verify:
        idle = [row(asked("idle", 1, 2)) for _ in range(bucket.num_rows)]
        drafts = (7,) * (bucket.num_tokens - bucket.num_rows)
        wide = idle[0]._replace(drafts=drafts, num_tokens=1 + len(drafts))
        for _ in range(4):
            made.note_time(Step((wide, *idle[1:])), verify_s)
    return made


def asked(name: str, *token_ids: int, max_tokens: int = 10) -> Request:
    return Request(id=name, prompt_ids=token_ids, params=SamplingParams(max_tokens=max_tokens))


def row(request: Request, *, samples: bool = True) -> Row:
    return Row(request, 0, request.num_tokens - 1, 1, samples, False)


def drafts(
    made: Speculator, *requests: Request, pool: PagePool | None = None
) -> list[tuple[int, ...]]:
    pool = pool or PagePool(64, 4, prefix_cache=True)
    return [row.drafts for row in made.with_drafts([row(r) for r in requests], pool)]


def say(made: Speculator, request: Request, *token_ids: int) -> None:
    for token_id in token_ids:
        request.output_ids.append(token_id)
        made.note_tokens(request)


def test_a_draft_is_what_came_before() -> None:
    made, request = speculator(), asked("a", 1, 2, 3, 4)
    say(made, request, 1)
    assert drafts(made, request) == [(2, 3, 4)]
    assert request.num_computed_tokens == 3


def test_who_was_not_heard_of_gets_none() -> None:
    made = speculator()
    held = asked("held", 1, 2, 1)
    held.constraint = FakeConstraint(lambda _: {1})
    made.note_tokens(held)
    assert drafts(made, held, asked("new", 1, 2, 1)) == [(), ()]


def test_a_draft_ends_before_the_request_does() -> None:
    made, request = speculator(), asked("a", 1, 2, 3, 4, max_tokens=3)
    say(made, request, 1)
    assert drafts(made, request) == [(2,)]
    say(made, request, 2)
    assert drafts(made, request) == [()]


def test_a_draft_takes_no_more_pages_than_are_free() -> None:
    made, request, pool = speculator(), asked("a", 1, 2, 3, 4, 5), PagePool(3, 4, prefix_cache=True)
    request.pages = pool.try_take(2) or []
    others = pool.try_take(1) or []
    say(made, request, 1)
    assert drafts(made, request, pool=pool) == [(2, 3)]
    pool.release(others)
    assert drafts(made, request, pool=pool) == [(2, 3, 4)]
    assert len(request.pages) == 3


def test_a_row_whose_guesses_fail_gets_none_until_they_are_right_again() -> None:
    made, request = speculator(verify_s=1.4), asked("a", 1, max_tokens=1000)
    for odd in range(3, 40, 2):
        say(made, request, 1, odd)  # after 1 comes what never came
    say(made, request, 1)
    assert drafts(made, request) == [()]
    say(made, request, *[5, 6, 7] * 8)
    assert drafts(made, request) == [(5, 6, 7)]


def test_a_newcomer_is_thought_to_be_as_others_were() -> None:
    made = speculator(verify_s=1.4)
    for name in "abcdefgh":
        other = asked(name, 1, max_tokens=1000)
        for odd in range(3, 40, 2):
            say(made, other, 1, odd)
    newcomer = asked("new", 5, 6, 5)
    made.note_tokens(newcomer)
    assert drafts(made, newcomer) == [()]


def test_a_step_of_a_prompt_gets_none() -> None:
    made, request = speculator(), asked("a", 1, 2, 1)
    made.note_tokens(request)
    rows = [row(request), row(asked("b", 1, 2, 3))._replace(num_tokens=2)]
    assert made.with_drafts(rows, PagePool(8, 4, prefix_cache=True)) == rows


def test_what_is_likely_to_pay_is_promised() -> None:
    made, request = speculator(verify_s=1.6), asked("a", *[5, 6, 7] * 8, max_tokens=100)
    made.note_tokens(request)
    assert not made.promises([asked("unheard", 1, 2)])
    assert not made.promises([request])  # its first guess may well be wrong
    say(made, request, *[5, 6, 7] * 3)
    assert made.promises([request])
    made.forget(request.id)
    assert not made.promises([request])


def test_the_row_that_is_right_most_often_goes_first_where_room_is_short() -> None:
    """Steps for all drafts are slow here, those for one row's are not."""
    made = speculator()
    small, large = BUCKETS.verifying(2)
    for _ in range(5):
        idle = row(asked("idle", 1, 2))._replace(drafts=(7,) * 12, num_tokens=13)
        made.note_time(Step((idle,) + (row(asked("idle", 1, 2)),) * 3), 9.0)
    wrong, right = asked("wrong", 1, max_tokens=99), asked("right", *[5, 6, 7] * 3, max_tokens=99)
    for odd in (3, 5, 7):
        say(made, wrong, 1, odd)
    say(made, wrong, 1)
    say(made, right, *[5, 6, 7] * 3)
    assert small.num_tokens == 7 < large.num_tokens
    assert drafts(made, wrong, right) == [(7, 1), (5, 6, 7)]
