"""Which tokens may a row's next ones be, and is it worth asking the model whether they are?

A draft is what followed the row's last tokens when they stood in it before. How often that is
right is counted for every row whether its drafts are verified or not, since a guess costs nothing;
what verifying costs is measured. So a row whose guesses fail, and a batch whose steps would get too
long, go on without drafts. Whatever is decided here, the tokens stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxserve.engine.buckets import Bucket, Buckets
from jaxserve.engine.lookup import Lookup
from jaxserve.engine.pace import Pace
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import Request
from jaxserve.engine.step import Row, Step

_ROW_MEMORY = 8  # guesses of a row, and of all rows, that its rate of right ones goes by
_ENGINE_MEMORY = 64
_FIRST_RATE = 0.5
_LEAST_RATE = 0.1  # of a row that is worth a draft

Draft = tuple[int, ...]


@dataclass(slots=True)
class _Row:
    """What is known of a request. `guess` is what is drafted after its newest token."""

    lookup: Lookup
    rate: float  # of the first tokens of guesses, those that were right
    guess: Draft = ()

    def num_expected(self, num_drafted: int) -> float:
        """How many of so many tokens will be right, each only after the one before it."""
        if self.rate < _LEAST_RATE:
            return 0.0
        return sum(self.rate**place for place in range(1, num_drafted + 1))


@dataclass(slots=True)
class _Plan:
    """Drafts for a step, by the place of their row, and how many of their tokens will be right."""

    drafts: list[tuple[int, Draft]]
    num_expected: float = 0.0


class Speculator:
    """Drafts of at most `num_tokens` for the requests of a scheduler, whose alone it is."""

    def __init__(self, buckets: Buckets, *, num_tokens: int, shortest: int, longest: int) -> None:
        """A match that is drafted from has `shortest` tokens at least; those past `longest` do
        not make it better."""
        self._buckets = buckets
        self._pace = Pace(buckets)
        self.num_tokens = num_tokens
        self._shortest, self._longest = shortest, longest
        self._rows: dict[str, _Row] = {}
        self._rate = _FIRST_RATE  # of all rows: what a new one is thought to have

    def note_time(self, step: Step, seconds: float) -> None:
        """Note what a step took, counted from the end of the one before it."""
        self._pace.note(step, seconds)

    def note_tokens(self, request: Request) -> None:
        """Take in what a request has drawn since."""
        if request.constraint is not None:  # its next mask needs each token before it
            return
        row = self._rows.get(request.id)
        num_prompt = len(request.prompt_ids)
        if row is None:
            known = (*request.prompt_ids, *request.output_ids)
            lookup = Lookup(known, shortest=self._shortest, longest=self._longest)
            guess = lookup.following(self.num_tokens)
            row = self._rows[request.id] = _Row(lookup, self._rate, guess)
        for token_id in request.output_ids[len(row.lookup) - num_prompt :]:
            if row.guess:
                self._count(row, is_right=row.guess[0] == token_id)
            row.lookup.add(token_id)
            row.guess = row.lookup.following(self.num_tokens)

    def forget(self, request_id: str) -> None:
        """Let go of a request that has ended."""
        self._rows.pop(request_id, None)

    def promises(self, requests: Sequence[Request]) -> bool:
        """Whether these, one token further than is known, will likely have drafts that pay."""
        plans = self._plans(requests, ahead=1)
        return self._best(len(requests), plans) is not None

    def with_drafts(self, rows: list[Row], pool: PagePool) -> list[Row]:
        """The rows of a step, with drafts where that pays; all their tokens are known.

        A step that computes a prompt, or scores one, gets none. Drafts get what pages they need if
        there are some, but never at another's expense.
        """
        if not all(row.samples and row.num_tokens == 1 and not row.scores_prompt for row in rows):
            return rows
        drafts = self._propose([row.request for row in rows])
        return [
            _with_draft(row, draft, pool) if draft else row
            for row, draft in zip(rows, drafts, strict=True)
        ]

    def _propose(self, requests: Sequence[Request]) -> list[Draft]:
        """A draft for each of the requests of a step, empty where there is none."""
        drafts: list[Draft] = [()] * len(requests)
        plans = self._plans(requests)
        bucket = self._best(len(requests), plans)
        for place, draft in plans[bucket].drafts if bucket is not None else ():
            drafts[place] = draft
        return drafts

    def _best(self, num_rows: int, plans: Mapping[Bucket, _Plan]) -> Bucket | None:
        return self._pace.best(num_rows, {b: plan.num_expected for b, plan in plans.items()})

    def _plans(self, requests: Sequence[Request], *, ahead: int = 0) -> dict[Bucket, _Plan]:
        """Who would get which draft in each bucket there is for so many rows.

        Rows that are right more often go first where there is no room for all. `ahead` is 1 for
        rows of which a token is not known yet: drafts are good only if that is guessed too.
        """
        rows = [(self._rows.get(request.id), place) for place, request in enumerate(requests)]
        drafting = [(row, place) for row, place in rows if row is not None and row.guess]
        if not drafting:
            return {}
        drafting.sort(key=lambda each: -each[0].rate)
        plans = {}
        for bucket in self._buckets.verifying(len(requests)):
            plan, room = _Plan([]), bucket.num_tokens - len(requests)
            for row, place in drafting:
                count = min(room, self._room(requests[place]) - ahead, len(row.guess))
                gained = row.num_expected(count) * row.rate**ahead
                if gained:
                    plan.drafts.append((place, row.guess[:count]))
                    plan.num_expected += gained
                    room -= count
            plans[bucket] = plan
        return plans

    def _room(self, request: Request) -> int:
        """How many tokens it may get beside the next."""
        return request.params.max_tokens - len(request.output_ids) - 1

    def _count(self, row: _Row, *, is_right: bool) -> None:
        row.rate += (is_right - row.rate) / _ROW_MEMORY
        self._rate += (is_right - self._rate) / _ENGINE_MEMORY


def _with_draft(row: Row, draft: Draft, pool: PagePool) -> Row:
    """The row with as much of the draft as there are pages for."""
    request, end = row.request, row.start + row.num_tokens
    num_new = pool.num_pages_for(end + len(draft)) - len(request.pages)
    if num_new > 0:
        request.pages += pool.try_take(num_new) or []
    drafts = draft[: len(request.pages) * pool.page_size - end]
    request.num_computed_tokens += len(drafts)
    return row._replace(num_tokens=row.num_tokens + len(drafts), drafts=drafts)
