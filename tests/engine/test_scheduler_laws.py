"""Chunks, neighbours, prefix hits and preemption never change a request's tokens."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from jaxserve.engine.request import FinishReason, Request, SamplingParams
from tests.engine.fake_driver import EOS, VOCAB_SIZE, Driver, request, tokens_alone
from tests.fakes import FakeConstraint, History

NewDriver = Callable[..., Driver]


def some_requests(count: int = 12) -> list[Request]:
    rng = random.Random(5)
    return [
        random_request(rng, f"r{index}", max_prompt=30, max_tokens=20) for index in range(count)
    ]


def random_request(
    rng: random.Random, request_id: str, *, max_prompt: int, max_tokens: int
) -> Request:
    """Prompts of few different tokens, so that many begin alike."""
    tokens = rng.randint(1, max_tokens)
    params = SamplingParams(
        max_tokens=tokens,
        min_tokens=rng.choice([0, 0, rng.randint(0, tokens)]),
        ignore_eos=rng.random() < 0.3,
        stop_token_ids=frozenset(rng.sample(range(VOCAB_SIZE), rng.choice([0, 0, 12]))),
    )
    variant = rng.randrange(4)
    constraint = FakeConstraint(zigzag(rng.randint(1, 15))) if rng.random() < 0.3 else None
    prompt = [3 if index < 14 else variant for index in range(rng.randint(1, max_prompt))]
    salt = rng.choice(["", "", "tenant"])
    return request(request_id, prompt, params, cache_salt=salt, constraint=constraint)


def zigzag(length: int) -> Callable[[History], set[int]]:
    """Ten tokens that depend on those before; the end after every fourth, and only it at last."""

    def allowed(output: History) -> set[int]:
        if len(output) >= length:
            return {EOS}
        first = sum(output) * 7 % VOCAB_SIZE
        some = {(first + 3 * index) % VOCAB_SIZE for index in range(10)} - {EOS}
        return some | ({EOS} if len(output) % 4 == 3 else set())

    return allowed


@pytest.mark.parametrize("token_budget", [4, 5, 7, 16, 200])
def test_chunked_prefill_is_whole_prefill(new_driver: NewDriver, token_budget: int) -> None:
    driver = new_driver(token_budget=token_budget)
    driver.run(*some_requests())
    driver.assert_as_alone()


@pytest.mark.parametrize("max_batch_size", [1, 2, 5, 12])
def test_alone_is_in_a_batch(new_driver: NewDriver, max_batch_size: int) -> None:
    driver = new_driver(max_batch_size=max_batch_size)
    driver.run(*some_requests())
    driver.assert_as_alone()


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_prefix_hit_is_miss(new_driver: NewDriver, prefix_cache: bool) -> None:
    driver = new_driver(prefix_cache=prefix_cache)
    driver.run(*some_requests())
    assert (driver.scheduler.stats().totals.prefix_hit_tokens > 0) == prefix_cache
    driver.assert_as_alone()


@pytest.mark.parametrize("num_pages", [13, 14, 17, 24])
def test_preempted_is_never_preempted(new_driver: NewDriver, num_pages: int) -> None:
    driver = new_driver(num_pages=num_pages, prefix_cache=False)
    driver.run(*some_requests(30))
    assert driver.scheduler.stats().totals.preemptions > 0
    driver.assert_as_alone()


def walk(seed: int, *, num_moves: int = 120) -> Driver:
    """Add, step and abort at random in an engine of random, tiny sizes; then let it finish."""
    rng = random.Random(seed)
    page_size, num_pages = rng.choice([1, 2, 4]), rng.randint(8, 20)
    max_batch_size = rng.randint(1, 5)
    driver = Driver(
        num_pages=num_pages,
        page_size=page_size,
        max_batch_size=max_batch_size,
        token_budget=rng.randint(max_batch_size, 24),
        prefix_cache=rng.random() < 0.8,
    )
    room = num_pages * page_size + 1
    for index in range(num_moves):
        move = rng.random()
        if move < 0.3:
            max_prompt = rng.randint(1, room - 1)
            max_tokens = min(room - max_prompt, 20)
            driver.add(
                random_request(rng, f"r{index}", max_prompt=max_prompt, max_tokens=max_tokens)
            )
        elif move < 0.4 and driver.requests:
            driver.abort(rng.choice([*driver.requests]))
            driver.scheduler.check()
        else:
            driver.step()
    driver.run()
    return driver


@pytest.mark.parametrize("block", range(8))
def test_random_walk_keeps_the_laws(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        driver = walk(seed)
        driver.assert_as_alone()
        assert driver.pool.num_used == 0, f"seed {seed} leaks pages"
        unended = driver.requests.keys() - driver.last.keys()
        assert not unended, f"seed {seed}: no last delta for {unended}"


def test_walks_meet_what_they_are_meant_to_meet() -> None:
    totals = [walk(seed).scheduler.stats().totals for seed in range(30)]
    assert sum(t.preemptions for t in totals) > 30
    assert sum(t.prefix_hit_tokens for t in totals) > 300
    assert sum(t.discarded_tokens for t in totals) > 30
    for reason in (FinishReason.STOP, FinishReason.LENGTH, FinishReason.ABORT):
        assert sum(t.finished[reason] for t in totals) > 30


def test_oracle_is_not_trivial() -> None:
    assert len({tuple(tokens_alone(asked)[0]) for asked in some_requests()}) > 6
