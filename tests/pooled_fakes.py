"""An engine that makes vectors without a device, and a tokenizer of nine words for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from jaxserve.config import ServeConfig, ServerConfig
from jaxserve.engine.metrics import EngineHealth, EngineMetrics, EngineStats, EngineTotals
from jaxserve.engine.pooling.request import PooledDelta, PooledRequest
from jaxserve.engine.request import EngineLimits, FinishReason, Request, TokenDelta
from jaxserve.errors import EngineBusy
from jaxserve.pooling import PooledTask, TextPooler
from jaxserve.server.app import create_app
from jaxserve.server.models import ModelInfo
from jaxserve.text.formats.table import Formats
from jaxserve.text.sentence_folder import SentenceFacts
from jaxserve.text.tokenizer import FolderTokenizer

CLS, SEP, PAD, UNK = 0, 1, 2, 3
WORDS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "a", "b", "c", "d", "e")
MAX_TOKENS = 8
EMBEDS = PooledTask(task="embed", num_outputs=4, normalized=False, facts=SentenceFacts())


def tokenizer() -> FolderTokenizer:
    """`a b` is [CLS] a b [SEP], and a pair [CLS] a [SEP] b [SEP] with types."""
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    return FolderTokenizer(wrapped, eos_ids=frozenset())


def vector_of(token_ids: Sequence[int], token_types: Sequence[int], size: int) -> np.ndarray:
    """Counts of tokens, so that one can see what was read."""
    counts = np.bincount(np.asarray(token_ids), minlength=len(WORDS))[4 : 4 + size]
    vector: np.ndarray = (counts + 10 * sum(token_types)).astype(np.float32)
    return vector


class FakePoolingEngine:
    """Answers at once on a thread of its own; while `gate` is not set it holds everything back.

    At most `room` requests may be in it. Texts with the word e fail.
    """

    def __init__(self, num_outputs: int = 4, *, room: int = 1000) -> None:
        self.limits = EngineLimits(
            max_model_len=MAX_TOKENS,
            vocab_size=len(WORDS),
            eos_token_ids=frozenset(),
            max_logprobs=0,
            max_queued_requests=room,
        )
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[PooledRequest] = []
        self.aborted: list[str] = []
        self.most_at_once = 0
        self._num_outputs = num_outputs
        self._unfinished: dict[str, PooledRequest] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self, deliver: Callable[[Sequence[TokenDelta]], None]) -> None:
        self._deliver = deliver
        self._thread.start()

    def submit(self, request: Request) -> None:
        assert isinstance(request, PooledRequest)
        with self._changed:
            if len(self._unfinished) >= self.limits.max_queued_requests:
                raise EngineBusy("the queue is full", retry_after_s=3.0)
            self._unfinished[request.id] = request
            self.seen.append(request)
            self.most_at_once = max(self.most_at_once, len(self._unfinished))
            self._changed.notify()

    def abort(self, request_id: str, reason: FinishReason = FinishReason.ABORT) -> None:
        with self._changed:
            self.aborted.append(request_id)
            self._unfinished.pop(request_id, None)

    @property
    def num_unfinished(self) -> int:
        with self._changed:
            return len(self._unfinished)

    def stop(self) -> None:
        self.gate.set()
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def health(self) -> EngineHealth:
        return EngineHealth(alive=True, failure=None, stalled_s=0.0)

    def metrics(self) -> EngineMetrics:
        raise AssertionError("nobody asks for metrics here")

    def reset_prefix_cache(self) -> None:
        raise AssertionError("there is none")

    def stats(self) -> EngineStats:
        return EngineStats(
            running=0, waiting=0, used_pages=0, cached_pages=0, total_pages=0, totals=EngineTotals()
        )

    def _main(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unfinished or self._stopped)
                if self._stopped:
                    return
            self.gate.wait()
            with self._changed:
                batch = [self._unfinished.pop(name) for name in list(self._unfinished)]
            self._deliver([self._answer(request) for request in batch])

    def _answer(self, request: PooledRequest) -> TokenDelta:
        if WORDS.index("e") in request.prompt_ids:
            error = FinishReason.ERROR
            return TokenDelta(request_id=request.id, finish_reason=error, error="not finite")
        vector = vector_of(request.prompt_ids, request.token_types, self._num_outputs)
        return PooledDelta(request_id=request.id, finish_reason=FinishReason.STOP, vector=vector)


def make_pooled_app(
    engine: FakePoolingEngine, task: PooledTask = EMBEDS, *, config: ServerConfig | None = None
) -> Starlette:
    return create_app(
        TextPooler(engine, tokenizer(), task),
        model=ModelInfo(
            names=("tiny",),
            root="tiny",
            created=1700000000,
            max_model_len=MAX_TOKENS,
            fingerprint="fp",
            task=task.task,
        ),
        config=ServeConfig(server=config or ServerConfig()),
        engine=engine,
        generation_config={},
        formats=Formats(),
    )


@contextlib.contextmanager
def pooled_client(
    task: PooledTask = EMBEDS, *, engine: FakePoolingEngine | None = None, **options: Any
) -> Iterator[TestClient]:
    """A client of an app in this process; the engine is stopped after."""
    engine = engine or FakePoolingEngine(task.num_outputs)
    try:
        with TestClient(make_pooled_app(engine, task, **options)) as client:
            yield client
    finally:
        engine.stop()
