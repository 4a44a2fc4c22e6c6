"""What a text gives does not depend on whom it shares a batch with, and nothing compiles late."""

import threading
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.pooling.buckets import Buckets
from jaxserve.engine.pooling.request import PooledDelta, PooledRequest
from jaxserve.engine.pooling.runner import PoolingRunner
from jaxserve.engine.pooling.scheduler import PoolingScheduler
from jaxserve.engine.request import EngineLimits, TokenDelta
from jaxserve.engine.step import Row, Step
from jaxserve.models.pooled_loading import LoadedPooledModel, load_pooled_model
from jaxserve.sharding.mesh import make_mesh
from tests.models.pooled_variants import BERT
from tests.models.tolerance import assert_agrees
from tests.models.variant import Variant

BUCKETS = Buckets.build(max_rows=4, max_model_len=64, token_budget=128)
TEXTS = [tuple(1 + i % 50 for i in range(length)) for length in (40, 9, 64, 3, 30)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedPooledModel:
    folder = tmp_path_factory.mktemp("bert")
    Variant({}, "BertModel", {**BERT, "num_hidden_layers": 1}).save(folder)
    mesh = make_mesh(tensor_parallel=1)
    return load_pooled_model(folder, dtype=jnp.dtype("float32"), mesh=mesh)


@pytest.fixture(scope="module")
def runner(model: LoadedPooledModel) -> Iterator[PoolingRunner]:
    runner = PoolingRunner(model, mesh=make_mesh(tensor_parallel=1), buckets=BUCKETS)
    told: list[str] = []
    runner.warm_up(on_compiled=lambda name, _: told.append(name))
    assert sorted(told) == sorted(map(str, BUCKETS.all))
    yield runner
    runner.close()


def request(name: str, text: Sequence[int], types: Sequence[int] = ()) -> PooledRequest:
    return PooledRequest(id=name, prompt_ids=tuple(text), token_types=tuple(types))


def run(runner: PoolingRunner, *requests: PooledRequest) -> np.ndarray:
    rows = [
        Row(request, slot, 0, len(request.prompt_ids), samples=True, takes_slot=True)
        for slot, request in enumerate(requests)
    ]
    return runner.collect(runner.dispatch(Step(tuple(rows)))).vectors


def test_alone_is_as_in_a_batch(runner: PoolingRunner) -> None:
    together = run(runner, *(request("a", text) for text in TEXTS[:2]))
    for vector, text in zip(together, TEXTS[:2], strict=True):
        assert_agrees(run(runner, request("a", text))[0], vector)


def test_token_types_reach_the_model(runner: PoolingRunner) -> None:
    text = TEXTS[1]
    second = [0] * 4 + [1] * (len(text) - 4)
    plain, typed = (run(runner, request("a", text, types))[0] for types in ([], second))
    assert np.abs(plain - typed).max() > 1e-3


def test_through_the_engine_loop_each_text_gets_its_own_vector(runner: PoolingRunner) -> None:
    limits = EngineLimits(
        max_model_len=64,
        vocab_size=61,
        eos_token_ids=frozenset(),
        max_logprobs=0,
        max_queued_requests=64,
    )
    scheduler = PoolingScheduler(BUCKETS, limits=limits, max_batch_size=4, token_budget=128)
    loop = EngineLoop(scheduler, runner)
    got: dict[str, np.ndarray] = {}
    done = threading.Event()

    def deliver(deltas: Sequence[TokenDelta]) -> None:
        for delta in deltas:
            assert isinstance(delta, PooledDelta)
            got[delta.request_id] = delta.vector
        if len(got) == 20:
            done.set()

    loop.start(deliver)
    for index in range(20):
        loop.submit(request(str(index), TEXTS[index % 5]))
    assert done.wait(60)
    for index in range(20):
        assert_agrees(got[str(index)], run(runner, request("a", TEXTS[index % 5]))[0])
    metrics = loop.metrics()
    assert metrics.accepted == 20
    assert metrics.histograms.total_s.count == 20
    assert metrics.compiled_after_ready == 0
    assert (metrics.stats.running, metrics.stats.waiting) == (0, 0)
    assert loop.stop(10.0)
