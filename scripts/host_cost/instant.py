"""What is an engine whose device answers at once? The real loop, scheduler and packing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from jaxserve.engine.batch import Packer, Words, unpack_draw
from jaxserve.engine.buckets import Buckets
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step, StepResult
from jaxserve.models.hub import resolve
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer

MAX_LOGPROBS = 20
PAGE_SIZE = 128
MAX_MODEL_LEN = 4096
PAGES_PER_SEQ = MAX_MODEL_LEN // PAGE_SIZE
TOKEN_BUDGET = 2048
TEXT = (
    "The river rises in the hills above the town and is fed by three small streams. In spring it "
    "floods the meadows; by late summer a child can walk across it without getting wet knees. "
    "Nobody remembers who built the bridge, but it has stood for more than two hundred years. "
)


@cache
def tokenizer() -> FolderTokenizer:
    """The shipped model's."""
    return load_tokenizer(resolve(None, revision=None))


class InstantRunner:
    """Packs steps and unpacks draws as the real runner does; what lies between takes no time.

    Row by row it draws the tokens of TEXT, over and over. `wait` is called before a step's
    tokens are read, where the real one waits for the device.
    """

    num_compiled_after_ready = 0

    def __init__(self, *, num_slots: int, wait: Callable[[], None] = lambda: None) -> None:
        self._packer = Packer(num_slots=num_slots, pages_per_seq=PAGES_PER_SEQ)
        self._buckets = Buckets.build(max_rows=num_slots, token_budget=TOKEN_BUDGET)
        script = tokenizer().encode(TEXT, add_special_tokens=False)
        self._script: npt.NDArray[np.int32] = np.array(script, np.int32)
        self._num_steps = 0
        self._wait = wait

    def dispatch(self, step: Step) -> tuple[Step, Words]:
        bucket = self._buckets.smallest(step)
        self._packer.pack(step, bucket)
        draw = np.zeros((bucket.num_rows, 3 + 2 * MAX_LOGPROBS), np.int32)
        draw[:, 0] = self._script[self._num_steps % len(self._script)]
        draw[:, 1] = 1  # finite
        self._num_steps += 1
        return step, draw

    def collect(self, in_flight: tuple[Step, Words]) -> StepResult:
        self._wait()
        step, draw = in_flight
        return StepResult(unpack_draw(draw, step))


def limits(*, max_queued_requests: int) -> EngineLimits:
    return EngineLimits(
        max_model_len=MAX_MODEL_LEN,
        vocab_size=tokenizer().vocab_size,
        eos_token_ids=tokenizer().eos_ids,
        max_logprobs=MAX_LOGPROBS,
        max_queued_requests=max_queued_requests,
    )


def make_scheduler(num_slots: int, *, max_queued_requests: int = 1024) -> Scheduler:
    return Scheduler(
        PagePool(num_slots * PAGES_PER_SEQ, PAGE_SIZE, prefix_cache=True),
        limits=limits(max_queued_requests=max_queued_requests),
        max_batch_size=num_slots,
        token_budget=TOKEN_BUDGET,
    )


def make_loop(num_slots: int, *, wait: Callable[[], None] = lambda: None) -> EngineLoop:
    return EngineLoop(make_scheduler(num_slots), InstantRunner(num_slots=num_slots, wait=wait))
