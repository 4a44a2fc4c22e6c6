"""Which token ids may a constrained request draw next? Worked out while the device works.

A mask needs the token before it, so a constrained row sits out the step that is in flight with its
last token. Threads make its mask meanwhile; the scheduler takes the row along once it is there.
Rows without a constraint never wait for any of this.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.engine.request import Request

logger = logging.getLogger(__name__)

MASK_BITS = 32  # in a word
_MAX_THREADS = 8

Mask = npt.NDArray[np.uint32]


class MaskMakers:
    """Threads that set `Request.mask` for the requests they are asked about.

    `ask`, `begin`, `wait`, `settle` and `failures` are for one thread, the engine's.
    """

    def __init__(self, eos_token_ids: frozenset[int]) -> None:
        self._eos_token_ids = eos_token_ids
        self._asked: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._news = threading.Event()
        self._num_open = 0  # asked for and not made yet; guarded by `_closed`
        self._closed = threading.Condition()
        self._failures: deque[tuple[str, str]] = deque()
        self._threads = [
            threading.Thread(target=self._main, name=f"masks-{index}", daemon=True)
            for index in range(max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2)))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let the threads end; masks that were asked for may never come."""
        for _ in self._threads:
            self._asked.put(None)

    def ask(self, requests: Iterable[Request]) -> None:
        """Have the next mask made for those that lack it; not twice for one token."""
        for request in requests:
            if request.constraint is not None and lacks_mask(request):
                with self._closed:
                    self._num_open += 1
                self._asked.put(request)

    def begin(self) -> None:
        """Forget the news so far: `wait` is for what comes after."""
        self._news.clear()

    def interrupt(self) -> None:
        """End the engine's waiting: there is other news. For any thread."""
        self._news.set()

    def wait(self) -> None:
        """Wait until a mask was made, or has failed, or `interrupt` was called since `begin`."""
        self._news.wait()

    def settle(self, within_s: float) -> None:
        """Wait until every mask that was asked for is there, but no longer than that."""
        with self._closed:
            self._closed.wait_for(lambda: self._num_open == 0, within_s)

    def failures(self) -> list[tuple[str, str]]:
        """Ids of requests whose constraint can not go on, and why; each is told once."""
        return [self._failures.popleft() for _ in range(len(self._failures))]

    def _main(self) -> None:
        while (request := self._asked.get()) is not None:
            try:
                request.mask = next_mask(request, self._eos_token_ids)
            except ConstraintFailed as failed:
                self._failures.append((request.id, str(failed)))
            except Exception as error:  # one request's constraint must not end the thread
                logger.exception("cannot make the mask of request %s", request.id)
                self._failures.append((request.id, f"{type(error).__name__}: {error}"))
            with self._closed:
                self._num_open -= 1
                self._closed.notify_all()
            self._news.set()


def lacks_mask(request: Request) -> bool:
    """Whether it is constrained, goes on, and its next mask can be made but is not there."""
    return (
        request.constraint is not None
        and request.mask is None
        and request.num_pending == 0
        and request.finish_reason is None
    )


def next_mask(request: Request, eos_token_ids: frozenset[int]) -> bytes:
    """The mask of a constrained request's next token. Raises ConstraintFailed.

    What the request bans (an end before min_tokens, or with ignore_eos; a bias of minus infinity;
    all but allowed_token_ids) is taken out, unless the constraint allows nothing else.
    """
    assert request.constraint is not None, f"request {request.id} has no constraint"
    mask = request.constraint.next_mask()
    banned, allowed = _banned_ids(request, eos_token_ids), request.params.allowed_token_ids
    if not banned and allowed is None:
        return mask
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
    kept = np.ones(len(bits), np.uint8) if allowed is None else np.zeros(len(bits), np.uint8)
    kept[[token_id for token_id in allowed or () if token_id < len(bits)]] = 1
    kept[[token_id for token_id in banned if token_id < len(bits)]] = 0
    bits &= kept
    return np.packbits(bits, bitorder="little").tobytes() if bits.any() else mask


def _banned_ids(request: Request, eos_token_ids: frozenset[int]) -> frozenset[int]:
    params = request.params
    banned = frozenset(token_id for token_id, bias in params.logit_bias if bias == -math.inf)
    if params.ignore_eos:
        banned |= eos_token_ids - params.stop_token_ids
    if len(request.output_ids) < params.min_tokens:
        banned |= eos_token_ids | params.stop_token_ids
    return banned


def mask_words(masks: Sequence[bytes], num_words: int) -> Mask:
    """The masks as u32[len(masks), num_words]; what is past the end of one is not allowed."""
    words = np.zeros((len(masks), num_words), np.uint32)
    as_bytes = words.view(np.uint8)
    for row, mask in zip(as_bytes, masks, strict=True):
        row[: len(mask)] = np.frombuffer(mask, np.uint8)[: row.size]
    return words


def num_mask_words(vocab_size: int) -> int:
    return -(-vocab_size // MASK_BITS)
