"""Which page of the KV cache is free, which is held, and which holds a known prefix.

Plain integers and hashes; knows nothing of requests, arrays or devices. A page is in exactly one
of three states: free, used (held by at least one request), or cached (held by nobody, but its
content is indexed and may be found again). Every operation costs O(1) per page it touches.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence


def extend_hashes(
    hashes: list[bytes], token_ids: Sequence[int], *, page_size: int, cache_salt: str
) -> None:
    """Append the hashes of the full pages of `token_ids`, which come after the hashed ones.

    A page is named by all the tokens up to its end: the hash before it, then its own tokens.
    Sequences of different salts never share a page. Cryptographic on purpose: a collision would
    hand one client another one's context.
    """
    parent = hashes[-1] if hashes else hashlib.sha256(cache_salt.encode()).digest()
    for start in range(0, len(token_ids) - page_size + 1, page_size):
        own = array("q", token_ids[start : start + page_size]).tobytes()
        parent = hashlib.sha256(parent + own).digest()
        hashes.append(parent)


class PagePool:
    """Free list, reference counts and prefix index of the pages."""

    def __init__(self, num_pages: int, page_size: int, *, prefix_cache: bool) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self.prefix_cache = prefix_cache
        self._free = list(range(num_pages - 1, -1, -1))  # taken from the end
        self._num_holders = [0] * num_pages
        self._hash_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_cached(self) -> int:
        return len(self._cached)

    @property
    def num_used(self) -> int:
        return self.num_pages - self.num_free - self.num_cached

    def num_pages_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page_size)

    def find(self, hashes: Iterable[bytes]) -> list[int]:
        """The pages of the longest indexed prefix. Takes nothing: pass them to `try_take`."""
        pages = []
        for digest in hashes:
            page = self._page_of.get(digest)
            if page is None:
                break
            pages.append(page)
        return pages

    def try_take(
        self, num_new: int, *, shared: Sequence[int] = (), spare: int = 0
    ) -> list[int] | None:
        """Hold `shared` and `num_new` pages besides, evicting cached ones where none is free.

        All or nothing: None when there are too few, or fewer than `spare` would be left.
        """
        num_unheld = sum(self._num_holders[page] == 0 for page in shared)
        if self.num_free + self.num_cached - num_unheld < num_new + spare:
            return None
        for page in shared:
            self._cached.pop(page, None)
            self._num_holders[page] += 1
        return [*shared, *(self._take_one() for _ in range(num_new))]

    def release(self, pages: Sequence[int]) -> None:
        """Let go of a request's pages; indexed ones nobody else holds stay findable."""
        # Last page first, so that a sequence loses its tail before its head: a page can only be
        # found through the ones before it.
        for page in reversed(pages):
            assert self._num_holders[page] > 0, f"page {page} is released but nobody holds it"
            self._num_holders[page] -= 1
            if self._num_holders[page] == 0:
                self._let_rest(page)

    def register(self, page: int, digest: bytes) -> None:
        """Index a held, full page by its content, unless an equal page already is."""
        assert self._num_holders[page] > 0, f"page {page} is registered but nobody holds it"
        if self.prefix_cache and page not in self._hash_of and digest not in self._page_of:
            self._hash_of[page] = digest
            self._page_of[digest] = page

    def forget(self, hashes: Iterable[bytes]) -> None:
        """Drop pages from the index, because their content is not to be trusted."""
        for digest in hashes:
            page = self._page_of.get(digest)
            if page is None:
                continue
            self._unindex(page)
            if page in self._cached:
                del self._cached[page]
                self._free.append(page)

    def forget_all(self) -> None:
        """Drop every page from the index; held ones stay with their holders."""
        self.forget([*self._page_of])

    def check(self, held: Iterable[Sequence[int]] | None = None) -> None:
        """Assert that the books add up; with `held`, also against every holder's own pages."""
        free, cached = set(self._free), set(self._cached)
        used = {page for page, holders in enumerate(self._num_holders) if holders}
        assert len(free) == len(self._free), "a page is in the free list twice"
        assert min(self._num_holders, default=0) >= 0, "a page has fewer than no holders"
        assert len(used) == self.num_used, "free + used + cached is not the total"
        assert free | cached | used == set(range(self.num_pages)), "a page is lost"
        assert cached <= self._hash_of.keys(), "a cached page is not indexed"
        assert free.isdisjoint(self._hash_of), "a free page is indexed"
        assert {digest: page for page, digest in self._hash_of.items()} == self._page_of
        if held is not None:
            counted = Counter(page for pages in held for page in pages)
            expected = {page: self._num_holders[page] for page in used}
            assert counted == expected, f"pages are held {dict(counted)}, counted {expected}"

    def _take_one(self) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, _ = self._cached.popitem(last=False)
            self._unindex(page)
        self._num_holders[page] = 1
        return page

    def _let_rest(self, page: int) -> None:
        if page in self._hash_of:
            self._cached[page] = None
        else:
            self._free.append(page)

    def _unindex(self, page: int) -> None:
        digest = self._hash_of.pop(page, None)
        if digest is not None:
            del self._page_of[digest]
