"""Drafts never change a request's tokens, whatever happens to it, and save steps where they hit."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from jaxserve.engine.request import FinishReason, Request, SamplingParams
from tests.engine.fake_driver import VOCAB_SIZE, Driver, request
from tests.engine.test_scheduler_laws import random_request
from tests.fakes import History, token_after


def repeating(history: History) -> int:
    """Mostly what stood seven tokens before, so that drafts hit, and miss now and then."""
    surprise = token_after(history, 1000)
    if surprise < 100 or len(history) < 7:
        return surprise % VOCAB_SIZE
    return history[-7]


@dataclass(frozen=True)
class Sizes:
    """Those of an engine that is small enough to run out of everything."""

    num_pages: int
    page_size: int
    max_batch_size: int
    token_budget: int
    prefix_cache: bool

    @classmethod
    def some(cls, rng: random.Random) -> Sizes:
        rows = rng.randint(1, 5)
        return cls(
            num_pages=rng.randint(12, 30),
            page_size=rng.choice([1, 2, 4]),
            max_batch_size=rows,
            token_budget=rng.randint(rows, 24),
            prefix_cache=rng.random() < 0.8,
        )

    def driver(self, num_draft_tokens: int) -> Driver:
        driver = Driver(**vars(self), num_draft_tokens=num_draft_tokens)
        driver.runner.next_token = repeating
        return driver


def some_requests(seed: int, sizes: Sizes) -> list[Request]:
    rng = random.Random(seed)
    room = sizes.num_pages * sizes.page_size + 1
    return [
        random_request(rng, f"r{i}", max_prompt=room // 3, max_tokens=min(40, room // 2))
        for i in range(12)
    ]


def walk(seed: int, num_draft_tokens: int) -> Driver:
    """Add and abort at random moments; the same ones whatever is drafted."""
    rng = random.Random(seed)
    sizes = Sizes.some(rng)
    driver = sizes.driver(num_draft_tokens)
    for asked in some_requests(seed, sizes):
        driver.add(asked)
        for _ in range(rng.randint(0, 6)):
            driver.step()
        if rng.random() < 0.1:
            driver.abort(rng.choice([*driver.requests]))
    driver.run()
    return driver


@pytest.mark.parametrize("block", range(4))
def test_drafts_change_no_token(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        plain, drafted = walk(seed, 0), walk(seed, 1 + seed % 5)
        assert drafted.pool.num_used == 0, f"seed {seed} leaks pages"
        for name in plain.requests:
            expected, got = plain.outputs[name], drafted.outputs[name]
            aborted = FinishReason.ABORT in (plain.reason(name), drafted.reason(name))
            shorter = min(len(expected), len(got)) if aborted else None
            assert got[:shorter] == expected[:shorter], f"seed {seed}, {name}"
            assert aborted or drafted.reason(name) == plain.reason(name), f"seed {seed}, {name}"


def test_walks_meet_what_they_are_meant_to_meet() -> None:
    totals = [walk(seed, 4).scheduler.stats().totals for seed in range(20)]
    accepted = sum(t.accepted_tokens for t in totals)
    refused = sum(t.draft_tokens for t in totals) - accepted
    assert accepted > 300
    assert refused > 100
    assert sum(t.preemptions for t in totals) > 20
    assert sum(t.prefix_hit_tokens for t in totals) > 100
    assert sum(t.finished[FinishReason.ABORT] for t in totals) > 5


def test_right_drafts_save_steps() -> None:
    steps = []
    for num_draft_tokens in (0, 4):
        driver = Sizes(40, 4, 4, 32, True).driver(num_draft_tokens)
        driver.runner.next_token = lambda history: history[-7]
        driver.run(request("r", range(1, 8), SamplingParams(max_tokens=80)))
        steps.append(driver.scheduler.stats().totals.steps)
    assert steps[1] < steps[0] / 3
