from __future__ import annotations

from jaxserve.engine.pages import PagePool
from jaxserve.engine.prefix import find_prefix, index_full_pages
from jaxserve.engine.request import Request
from jaxserve.engine.step import Row
from tests.engine.fake_driver import request


def computed(pool: PagePool, asked: Request, num_tokens: int) -> None:
    """Give a request its pages and index them as if a row of `num_tokens` had been committed."""
    asked.pages = pool.try_take(pool.num_pages_for(num_tokens)) or []
    index_full_pages(pool, Row(asked, 0, 0, num_tokens, False, True), num_tokens)


def test_full_pages_of_a_computed_row_are_found() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    first = request("a", range(11))
    computed(pool, first, 11)
    assert find_prefix(pool, request("b", range(20))) == first.pages[:2]


def test_page_that_is_not_computed_to_its_end_is_not_found() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    first = request("a", range(12))
    computed(pool, first, 7)
    assert find_prefix(pool, request("b", range(20))) == first.pages[:1]


def test_last_token_is_left_to_compute() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    first = request("a", range(8))
    computed(pool, first, 8)
    assert find_prefix(pool, request("b", range(8))) == first.pages[:1]
    assert find_prefix(pool, request("c", range(9))) == first.pages


def test_output_tokens_are_part_of_the_prefix() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    first = request("a", range(6))
    first.output_ids = [6, 7, 8]
    computed(pool, first, 8)
    assert find_prefix(pool, request("b", range(10))) == first.pages


def test_what_is_forgotten_is_not_found_and_stays_with_its_holder() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    first, second = request("a", range(8)), request("b", range(50, 58))
    computed(pool, first, 8)
    computed(pool, second, 8)
    pool.release(second.pages)
    pool.forget_all()
    assert find_prefix(pool, request("c", range(9))) == []
    assert (pool.num_used, pool.num_cached) == (2, 0)
    pool.check(held=[first.pages])


def test_other_salt_finds_nothing() -> None:
    pool = PagePool(8, 4, prefix_cache=True)
    computed(pool, request("a", range(8), cache_salt="x"), 8)
    assert find_prefix(pool, request("b", range(9), cache_salt="y")) == []


def test_without_prefix_cache_nothing_is_hashed() -> None:
    pool = PagePool(8, 4, prefix_cache=False)
    first = request("a", range(8))
    computed(pool, first, 8)
    assert find_prefix(pool, request("b", range(9))) == []
    assert first.page_hashes == []
