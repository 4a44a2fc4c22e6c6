"""Stand-ins for the parts of the engine that need a device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from jaxserve.engine.buckets import Buckets
from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.engine.masks import lacks_mask, next_mask
from jaxserve.engine.request import Request, SamplingParams
from jaxserve.engine.speculation import Speculator
from jaxserve.engine.step import Row, Sampled, Step, StepResult, confirmed

History = tuple[int, ...]


def token_after(history: Sequence[int], vocab_size: int) -> int:
    """A token that depends on all tokens before it and on nothing else."""
    digest = 17
    for token_id in history:
        digest = (digest * 1_000_003 + token_id + 1) % 2_147_483_647
    return (digest >> 7) % vocab_size


@dataclass
class FakeConstraint:
    """Allows what `allowed` says of the output so far; ends when that is only `eos` or nothing.

    It fails when it is given another token, or asked for a mask after `fail_after` tokens.
    """

    allowed: Callable[[History], AbstractSet[int]]
    eos: int = 0
    fail_after: int | None = None
    given: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        ended = self.given[-1:] == [self.eos]
        return ended or self.allowed(tuple(self.given)) <= {self.eos}

    def advance(self, token_id: int) -> None:
        if token_id not in self.allowed(tuple(self.given)):
            raise ConstraintFailed(f"{token_id} is not allowed after {self.given}")
        self.given.append(token_id)

    def next_mask(self) -> bytes:
        if len(self.given) == self.fail_after:
            raise ConstraintFailed("the grammar is too complex")
        bits = sum(1 << token_id for token_id in self.allowed(tuple(self.given)))
        return bits.to_bytes(32, "little")


def make_masks(requests: Iterable[Request], eos_token_id: int) -> None:
    """What the engine's mask threads do, at once."""
    for request in requests:
        if lacks_mask(request):
            request.mask = next_mask(request, frozenset({eos_token_id}))


@dataclass(frozen=True)
class _Launch:
    """A row as it was at dispatch; the scheduler changes the request right after."""

    row: Row
    pages: tuple[int, ...]
    token_ids: tuple[int | None, ...]  # up to the end of the row; None where it is pending
    num_output: int  # tokens drawn before this row's, pending ones included
    mask: bytes | None


class FakeRunner:
    """A runner with a KV cache one can look into, strict about the contract of a step.

    The KV of a token is the whole history up to it, so a row that reads a page which is not its
    own, was overwritten, or was never computed is found at once. Steps are computed when they are
    collected, in the order of dispatch; a token that the host does not know yet comes from the
    slot, as on the device.

    `next_token` may replace the hash of the history by a script. Requests named in `broken_ids`
    get logits that are not finite. With `fail_at_step` that dispatch raises. While `gate` is not
    set, `collect` hangs.
    """

    def __init__(self, page_size: int, *, vocab_size: int = 97, eos_token_id: int = 0) -> None:
        self.page_size = page_size
        self.vocab_size = vocab_size
        self.eos_token_id = eos_token_id
        self.next_token: Callable[[History], int] = lambda h: token_after(h, vocab_size)
        self.broken_ids: set[str] = set()
        self.fail_at_step: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.steps: list[Step] = []
        self.num_drafted = 0
        self.num_compiled_after_ready = 0
        self._queue: deque[tuple[Step, list[_Launch]]] = deque()
        self._kv: dict[tuple[int, int], History] = {}
        self._slot_owner: dict[int, Request] = {}
        self._slot_token: dict[int, int] = {}
        self._slot_state: dict[int, History] = {}

    def dispatch(self, step: Step) -> Step:
        if len(self.steps) == self.fail_at_step:
            raise RuntimeError("the device is gone")
        _check_shape(step)
        self.steps.append(step)
        self._queue.append((step, [self._launch(row) for row in step.rows]))
        return step

    def collect(self, in_flight: Step) -> StepResult:
        assert self.gate.wait(60), "nobody opened the gate"
        step, launches = self._queue.popleft()
        assert step is in_flight, "steps are collected in the order of dispatch"
        histories = [self._history(launch) for launch in launches]
        for launch, history in zip(launches, histories, strict=True):
            self._read(launch, history)
            self._carry(launch, history)
        self._write(launches, histories)
        if not step.verifies:
            return StepResult(tuple(map(self._draw, launches, histories)))
        draws = [self._verify(*pair) for pair in zip(launches, histories, strict=True)]
        return StepResult(tuple(d[0] for d in draws), further=tuple(d[1:] for d in draws))

    def _launch(self, row: Row) -> _Launch:
        request, end = row.request, row.start + row.num_tokens
        assert request.slot == row.slot, "the row's slot is not the request's"
        assert len(request.pages) * self.page_size >= end, "a token has no page"
        if row.takes_slot:
            self._slot_owner[row.slot] = request
        assert self._slot_owner.get(row.slot) is request, "the slot was not taken"
        num_known = end - len(row.drafts)
        token_ids = tuple(request.token_at(index) for index in range(num_known)) + row.drafts
        assert not (row.drafts and None in token_ids), "drafts after a token that is not known"
        assert None not in token_ids[: row.start], "a token before the row is not known"
        num_output = request.num_tokens - len(request.prompt_ids) - row.samples
        self.num_drafted += len(row.drafts)
        constrained = request.constraint is not None and row.samples
        assert not constrained or request.mask is not None, "a constrained row has no mask"
        return _Launch(row, tuple(request.pages), token_ids, num_output, request.mask)

    def _history(self, launch: _Launch) -> History:
        if None not in launch.token_ids:
            return tuple(t for t in launch.token_ids if t is not None)
        assert launch.row.num_tokens == 1, "only a row of one token may start from a pending one"
        known = tuple(t for t in launch.token_ids if t is not None)
        return (*known, self._slot_token[launch.row.slot])

    def _place(self, launch: _Launch, index: int) -> tuple[int, int]:
        return launch.pages[index // self.page_size], index % self.page_size

    def _read(self, launch: _Launch, history: History) -> None:
        for index in range(launch.row.start):
            found = self._kv.get(self._place(launch, index))
            assert found == history[: index + 1], (
                f"request {launch.row.request.id} reads {found} at {index} of {history}"
            )

    def _carry(self, launch: _Launch, history: History) -> None:
        """Find a slot's state as its request left it, unless it is taken in this very step."""
        row, found = launch.row, self._slot_state.get(launch.row.slot)
        if not row.takes_slot:
            assert found == history[: row.start], f"slot {row.slot} holds the state after {found}"
        self._slot_state[row.slot] = history

    def _write(self, launches: list[_Launch], histories: list[History]) -> None:
        written = set()
        for launch, history in zip(launches, histories, strict=True):
            for index in range(launch.row.start, launch.row.start + launch.row.num_tokens):
                place = self._place(launch, index)
                assert place not in written, f"two rows write to {place}"
                written.add(place)
                self._kv[place] = history[: index + 1]

    def _verify(self, launch: _Launch, history: History) -> tuple[Sampled, ...]:
        """The draws that count. The slot has no token then: the host has to know them."""
        row, draws = launch.row, list[Sampled]()
        num_known = len(history) - len(row.drafts)
        for place in range(len(row.drafts) + 1):
            drawn = self._draw(
                replace(launch, num_output=launch.num_output + place), history[: num_known + place]
            )
            assert drawn is not None, "a row of a step that verifies draws nothing"
            draws.append(drawn)
        counted = confirmed(row.drafts, draws)
        self._slot_token.pop(row.slot)
        self._slot_state[row.slot] = history[: num_known + len(counted) - 1]
        return counted

    def _draw(self, launch: _Launch, history: History) -> Sampled | None:
        row, params = launch.row, launch.row.request.params
        if not row.samples:
            return None
        if row.request.id in self.broken_ids:
            self._slot_token[row.slot] = 0
            return Sampled(0, finite=False)
        token_id = self.next_token(history)
        if launch.mask is not None:
            bits = int.from_bytes(launch.mask, "little")
            while not bits >> token_id & 1:
                token_id = (token_id + 1) % self.vocab_size
            return self._remember(row, token_id)
        suppressed = {self.eos_token_id, *params.stop_token_ids}
        while launch.num_output < params.min_tokens and token_id in suppressed:
            token_id = (token_id + 1) % self.vocab_size
        return self._remember(row, token_id)

    def _remember(self, row: Row, token_id: int) -> Sampled:
        self._slot_token[row.slot] = token_id
        return Sampled(token_id)


def _check_shape(step: Step) -> None:
    sizes = [row.num_tokens for row in step.rows]
    assert sizes and min(sizes) > 0, "a step or a row is empty"
    single = [size == 1 for size in sizes]
    assert single == sorted(single, reverse=True), "rows of one token come first"
    slots = [row.slot for row in step.rows]
    assert len(set(slots)) == len(slots), "two rows share a slot"


class EagerSpeculator(Speculator):
    """Verifies every draft there is: no step was ever slow, and a wrong guess changes nothing."""

    def __init__(self, buckets: Buckets, *, num_tokens: int, shortest: int, longest: int) -> None:
        super().__init__(buckets, num_tokens=num_tokens, shortest=shortest, longest=longest)
        for bucket in buckets.decode:
            rows = tuple(_IDLE_ROW for _ in range(bucket.num_rows))
            for _ in range(4):
                self.note_time(Step(rows), 1.0)

    def _count(self, *_: object, **__: object) -> None:
        """Keep the rate that everyone begins with."""

    def note_time(self, step: Step, seconds: float) -> None:
        if not step.verifies:
            super().note_time(step, seconds)


_IDLE_ROW = Row(
    Request(id="", prompt_ids=(0,), params=SamplingParams(max_tokens=1)), 0, 0, 1, True, False
)


def eager_speculator(buckets: Buckets, num_draft_tokens: int) -> Speculator | None:
    """None without drafts."""
    if not num_draft_tokens:
        return None
    return EagerSpeculator(buckets, num_tokens=num_draft_tokens, shortest=1, longest=3)
