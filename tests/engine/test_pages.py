from __future__ import annotations

import random

import pytest

from jaxserve.engine.pages import PagePool, extend_hashes


def hashes_of(token_ids: list[int], *, page_size: int = 4, salt: str = "") -> list[bytes]:
    hashes: list[bytes] = []
    extend_hashes(hashes, token_ids, page_size=page_size, cache_salt=salt)
    return hashes


def take(pool: PagePool, num_new: int, shared: list[int] | None = None) -> list[int]:
    pages = pool.try_take(num_new, shared=shared or [])
    assert pages is not None
    return pages


def fill(pool: PagePool, token_ids: list[int]) -> list[int]:
    """Take pages for the tokens and index them, as a request that has computed them does."""
    hashes = hashes_of(token_ids)
    pages = take(pool, len(hashes))
    for page, digest in zip(pages, hashes, strict=True):
        pool.register(page, digest)
    return pages


def test_all_pages_can_be_taken_and_no_more() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    assert sorted(take(pool, 3)) == [0, 1, 2]
    assert pool.try_take(1) is None
    pool.check()


def test_taking_is_all_or_nothing() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    held = take(pool, 2)
    assert pool.try_take(2) is None
    assert (pool.num_used, pool.num_free) == (2, 1)
    pool.check(held=[held])


def test_spare_pages_are_left() -> None:
    pool = PagePool(4, 4, prefix_cache=True)
    assert pool.try_take(3, spare=2) is None
    assert pool.try_take(2, spare=2) is not None


def test_released_unindexed_pages_are_free() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    pool.release(take(pool, 2))
    assert (pool.num_used, pool.num_cached, pool.num_free) == (0, 0, 3)
    pool.check(held=[])


def test_released_indexed_pages_are_found_again() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    pages = fill(pool, [1] * 8)
    pool.release(pages)
    assert (pool.num_cached, pool.num_free) == (2, 1)
    assert pool.find(hashes_of([1] * 8 + [2] * 4)) == pages
    pool.check(held=[])


def test_finding_takes_nothing() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    pool.release(fill(pool, [1] * 8))
    pool.find(hashes_of([1] * 8))
    assert pool.num_used == 0


def test_shared_pages_are_held_until_the_last_lets_go() -> None:
    pool = PagePool(4, 4, prefix_cache=True)
    first = fill(pool, [1] * 8)
    second = take(pool, 1, shared=pool.find(hashes_of([1] * 8)))
    assert second[:2] == first
    pool.check(held=[first, second])
    pool.release(first)
    assert pool.num_used == 3
    pool.release(second)
    assert pool.num_used == 0
    pool.check(held=[])


def test_cached_pages_that_are_shared_do_not_count_as_room() -> None:
    pool = PagePool(2, 4, prefix_cache=True)
    pages = fill(pool, [1] * 8)
    pool.release(pages)
    assert pool.try_take(1, shared=pages) is None
    assert pool.try_take(1, shared=pages[:1]) is not None
    pool.check()


def test_free_pages_go_before_cached_ones() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    pages = fill(pool, [1] * 8)
    pool.release(pages)
    take(pool, 1)
    assert pool.find(hashes_of([1] * 8)) == pages


def test_least_recently_used_page_is_evicted_first() -> None:
    pool = PagePool(2, 4, prefix_cache=True)
    old, young = fill(pool, [1] * 4), fill(pool, [2] * 4)
    pool.release(old)
    pool.release(young)
    pool.release(take(pool, 0, shared=old))  # used again, so it is the younger one now
    assert take(pool, 1) == young
    assert pool.find(hashes_of([1] * 4)) == old
    assert pool.find(hashes_of([2] * 4)) == []
    pool.check()


def test_a_sequence_loses_its_tail_before_its_head() -> None:
    pool = PagePool(3, 4, prefix_cache=True)
    pages = fill(pool, [1] * 12)
    pool.release(pages)
    take(pool, 1)
    assert pool.find(hashes_of([1] * 12)) == pages[:2]


def test_equal_content_is_indexed_once() -> None:
    pool = PagePool(4, 4, prefix_cache=True)
    first, second = fill(pool, [1] * 4), fill(pool, [1] * 4)
    assert pool.find(hashes_of([1] * 4)) == first
    pool.release(first)
    pool.release(second)
    assert (pool.num_cached, pool.num_free) == (1, 3)
    pool.check(held=[])


def test_forgotten_pages_are_not_found_and_become_free() -> None:
    pool = PagePool(4, 4, prefix_cache=True)
    held, resting = fill(pool, [1] * 4), fill(pool, [2] * 4)
    pool.release(resting)
    pool.forget(hashes_of([1] * 4) + hashes_of([2] * 4) + hashes_of([3] * 4))
    assert pool.find(hashes_of([1] * 4)) == pool.find(hashes_of([2] * 4)) == []
    pool.release(held)
    assert pool.num_free == 4
    pool.check(held=[])


def test_without_prefix_cache_nothing_is_indexed() -> None:
    pool = PagePool(2, 4, prefix_cache=False)
    pool.release(fill(pool, [1] * 8))
    assert (pool.num_cached, pool.num_free) == (0, 2)
    assert pool.find(hashes_of([1] * 8)) == []


def test_page_is_named_by_all_tokens_before_it() -> None:
    assert hashes_of([1] * 4 + [2] * 4)[1] != hashes_of([3] * 4 + [2] * 4)[1]


def test_salt_separates_equal_tokens() -> None:
    assert hashes_of([1] * 4, salt="a")[0] != hashes_of([1] * 4, salt="b")[0]


def test_hashes_can_be_extended_in_pieces() -> None:
    tokens = list(range(14))
    hashes = hashes_of(tokens[:9])
    extend_hashes(hashes, tokens[8:], page_size=4, cache_salt="")
    assert hashes == hashes_of(tokens)


def test_check_finds_a_page_that_nobody_admits_to_hold() -> None:
    pool = PagePool(2, 4, prefix_cache=True)
    take(pool, 1)
    with pytest.raises(AssertionError, match="held"):
        pool.check(held=[])


def test_releasing_twice_is_an_error() -> None:
    pool = PagePool(2, 4, prefix_cache=True)
    pages = take(pool, 1)
    pool.release(pages)
    with pytest.raises(AssertionError, match="nobody holds it"):
        pool.release(pages)


@pytest.mark.parametrize("seed", range(20))
def test_random_walk_adds_up(seed: int) -> None:
    rng = random.Random(seed)
    pool = PagePool(rng.randrange(1, 12), 4, prefix_cache=True)
    held: list[list[int]] = []
    for _ in range(300):
        if held and rng.random() < 0.5:
            pool.release(held.pop(rng.randrange(len(held))))
        elif rng.random() < 0.1:
            pool.forget(hashes_of([rng.randrange(2) for _ in range(8)]))
        else:
            hashes = hashes_of([rng.randrange(2) for _ in range(4 * rng.randrange(1, 5))])
            shared = pool.find(hashes)
            taken = pool.try_take(len(hashes) - len(shared), shared=shared)
            if taken is not None:
                held.append(taken)
                for page, digest in zip(taken, hashes, strict=True):
                    pool.register(page, digest)
        pool.check(held=held)
