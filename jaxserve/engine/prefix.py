"""Which leading pages of a request are computed already, and which of its own may others find?

The pool knows pages and hashes; this file knows which tokens of a request a page holds.
"""

from __future__ import annotations

from jaxserve.engine.pages import PagePool, extend_hashes
from jaxserve.engine.request import Request
from jaxserve.engine.step import Row


def find_prefix(pool: PagePool, request: Request) -> list[int]:
    """The indexed pages a request could start from; nothing is taken.

    The last known token is never among their tokens: it is computed in any case, because a token
    is drawn from its logits. A request that wants its prompt scored starts from none.
    """
    _hash_full_pages(pool, request)
    if request.params.prompt_logprobs is not None:
        return []
    return pool.find(request.page_hashes[: (request.num_tokens - 1) // pool.page_size])


def index_full_pages(pool: PagePool, row: Row, num_tokens: int) -> None:
    """Index the pages that `num_tokens` of a committed row have filled, whose request holds them
    still."""
    request = row.request
    first, end = row.start // pool.page_size, (row.start + num_tokens) // pool.page_size
    if first < end and pool.prefix_cache:
        _hash_full_pages(pool, request)
        for index in range(first, end):
            pool.register(request.pages[index], request.page_hashes[index])


def _hash_full_pages(pool: PagePool, request: Request) -> None:
    num_hashed = len(request.page_hashes) * pool.page_size
    num_known = len(request.prompt_ids) + len(request.output_ids)
    if pool.prefix_cache and num_known - num_hashed >= pool.page_size:
        extend_hashes(
            request.page_hashes,
            _known_ids_from(request, num_hashed),
            page_size=pool.page_size,
            cache_salt=request.cache_salt,
        )


def _known_ids_from(request: Request, start: int) -> tuple[int, ...]:
    past_prompt = max(0, start - len(request.prompt_ids))
    return (*request.prompt_ids[start:], *request.output_ids[past_prompt:])
