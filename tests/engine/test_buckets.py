"""Which program a step runs in."""

from __future__ import annotations

from jaxserve.engine.buckets import Bucket, Buckets
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.step import Row, Step


def row(slot: int, start: int, num_tokens: int, *, drafts: tuple[int, ...] = ()) -> Row:
    request = Request(id="r", prompt_ids=tuple(range(10)), params=SamplingParams(max_tokens=5))
    return Row(request, slot, start, num_tokens, True, False, drafts)


def test_buckets_are_few_and_cover_every_step() -> None:
    buckets = Buckets.build(max_rows=24, token_budget=300)
    assert [b.num_rows for b in buckets.decode] == [1, 4, 16, 24]
    assert [b.num_tokens for b in buckets.mixed] == [32, 128, 300]
    steps = {
        Step((row(0, 9, 1),) * 5): "decode 16",
        Step((row(0, 0, 10),)): "mixed 32",
        Step((row(0, 9, 1), row(1, 0, 128))): "mixed 300",
    }
    for step, name in steps.items():
        assert str(buckets.smallest(step)) == name


def test_where_greedy_buckets_are_apart_greedy_rows_decode_there_and_no_others() -> None:
    buckets = Buckets.build(max_rows=4, token_budget=32, greedy_apart=True)
    greedy = row(0, 9, 1)
    asking = [
        SamplingParams(max_tokens=5, temperature=0.5),
        SamplingParams(max_tokens=5, temperature=0.0, logprobs=1),
        SamplingParams(max_tokens=5, temperature=0.0, frequency_penalty=1.0),
        SamplingParams(max_tokens=5, temperature=0.0, min_tokens=2),
    ]
    greedy = greedy._replace(request=replaced(SamplingParams(max_tokens=5, temperature=0.0)))
    assert str(buckets.smallest(Step((greedy,)))) == "greedy 1"
    for params in asking:
        other = greedy._replace(request=replaced(params))
        assert str(buckets.smallest(Step((greedy, other)))) == "decode 4"
    assert str(buckets.smallest(Step((greedy._replace(num_tokens=2),)))) == "mixed 32"
    apart_not = Buckets.build(max_rows=4, token_budget=32)
    assert str(apart_not.smallest(Step((greedy,)))) == "decode 1"


def replaced(params: SamplingParams) -> Request:
    return Request(id="r", prompt_ids=tuple(range(10)), params=params)


def test_no_decode_bucket_is_smaller_than_the_least_rows() -> None:
    assert [b.num_rows for b in Buckets.build(max_rows=4, token_budget=8, min_rows=2).decode] == [
        2,
        4,
    ]


def test_there_are_buckets_to_verify_in_for_every_one_to_decode_in() -> None:
    buckets = Buckets.build(max_rows=64, token_budget=512, num_draft_tokens=4)
    assert [(b.num_rows, b.num_tokens) for b in buckets.verify] == [
        (1, 5),
        (4, 8),
        (4, 20),
        (16, 20),
        (16, 64),
        (32, 36),
        (32, 64),
        (64, 68),
        (64, 128),
    ]
    assert buckets.all[-1] == Bucket(128, 64, False, verifies=True)
    assert not Buckets.build(max_rows=64, token_budget=512).verify


def test_a_step_with_drafts_runs_where_they_are_verified() -> None:
    buckets = Buckets.build(max_rows=8, token_budget=64, num_draft_tokens=3)
    step = Step((row(0, 9, 1), row(1, 9, 4, drafts=(1, 2, 3))))
    assert str(buckets.smallest(step)) == "verify 4 7"
    step = Step((row(0, 9, 3, drafts=(1, 2)), row(1, 9, 4, drafts=(1, 2, 3)), row(2, 9, 1)))
    assert str(buckets.smallest(step)) == "verify 4 16"


def test_a_token_budget_without_room_for_drafts_leaves_no_bucket() -> None:
    buckets = Buckets.build(max_rows=4, token_budget=4, num_draft_tokens=3)
    assert [b.num_rows for b in buckets.verify] == [1]
    assert buckets.verifying(2) == ()
