from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.request import FinishReason, Request, SamplingParams, TokenDelta
from jaxserve.errors import ContextLengthExceeded, EngineBusy, EngineFailed, InvalidRequest
from tests.engine.fake_driver import EOS, Driver, limits, request
from tests.fakes import FakeConstraint, History

PATIENCE_S = 30.0  # no test waits that long unless something is broken


class Client:
    """A loop with somebody who keeps what it delivers, and can wait for last deltas."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.now_s = 100.0
        self.regions: list[str] = []
        self.loop = EngineLoop(
            driver.scheduler, driver.runner, clock=lambda: self.now_s, region=self._enter
        )
        self.deliveries: list[list[TokenDelta]] = []
        self._arrived = threading.Condition()

    def start(self) -> None:
        self.loop.start(self._deliver)

    def submit(self, *requests: Request) -> None:
        for asked in requests:
            self.driver.requests[asked.id] = asked
            self.loop.submit(asked)

    def wait_for_end(self, *request_ids: str) -> None:
        wanted = set(request_ids or self.driver.requests)
        with self._arrived:
            assert self._arrived.wait_for(lambda: wanted <= self.driver.last.keys(), PATIENCE_S)

    def wait_for_token(self, request_id: str, count: int = 1) -> None:
        with self._arrived:
            outputs = self.driver.outputs
            assert self._arrived.wait_for(lambda: len(outputs[request_id]) >= count, PATIENCE_S)

    def stop(self, timeout_s: float = PATIENCE_S) -> None:
        self.driver.runner.gate.set()
        assert self.loop.stop(timeout_s), "the engine's thread does not end"

    def _enter(self, region: str) -> AbstractContextManager[None]:
        self.regions.append(region)
        return nullcontext()

    def _deliver(self, deltas: Sequence[TokenDelta]) -> None:
        with self._arrived:
            self.deliveries.append(list(deltas))
            for delta in deltas:
                self.driver._take(delta)
            self._arrived.notify_all()


NewClient = Callable[..., Client]


@pytest.fixture
def new_client() -> Iterator[NewClient]:
    """Start loops on drivers of the given sizes; stopped, then checked, after the test."""
    clients: list[Client] = []

    def make(*, start: bool = True, **sizes: object) -> Client:
        client = Client(Driver(**sizes))  # type: ignore[arg-type]
        clients.append(client)
        if start:
            client.start()
        return client

    yield make
    for client in clients:
        client.stop()
        if client.loop.health().failure is None:
            client.driver.scheduler.check()
            assert client.driver.pool.num_used == 0


def endless(request_id: str) -> Request:
    return request(request_id, [1] * 10, SamplingParams(max_tokens=200, ignore_eos=True))


def test_request_runs_to_its_end(new_client: NewClient) -> None:
    client = new_client()
    client.submit(request("a", range(1, 20)))
    client.wait_for_end()
    client.driver.assert_as_alone()


def test_what_the_host_does_for_a_step_is_named(new_client: NewClient) -> None:
    client = new_client()
    client.submit(request("a", [1, 2], SamplingParams(max_tokens=1)))
    client.wait_for_end()
    wanted = ["schedule", "dispatch", "schedule", "read", "commit", "deliver"]
    assert client.regions[: len(wanted)] == wanted


def test_many_requests_get_what_they_get_alone(new_client: NewClient) -> None:
    client = new_client(num_pages=16)
    rng = random.Random(1)
    for index in range(60):
        prompt = [rng.randrange(2) for _ in range(rng.randint(1, 30))]
        client.submit(request(f"r{index}", prompt, SamplingParams(max_tokens=rng.randint(1, 20))))
    client.wait_for_end()
    client.driver.assert_as_alone()


def test_next_step_is_dispatched_before_the_last_is_collected(new_client: NewClient) -> None:
    client = new_client()
    runner = client.driver.runner
    runner.gate.clear()
    both_dispatched = threading.Event()
    dispatch = runner.dispatch

    def watched_dispatch(step: object) -> object:
        handle = dispatch(step)  # type: ignore[arg-type]
        if len(runner.steps) == 2:
            both_dispatched.set()
        return handle

    runner.dispatch = watched_dispatch  # type: ignore[method-assign, assignment]
    client.submit(request("a", [1, 2, 3]))
    assert both_dispatched.wait(PATIENCE_S), "the second step waits for the first one's result"


def test_deltas_of_a_step_come_together(new_client: NewClient) -> None:
    client = new_client(start=False)
    client.submit(*(request(name, [index], SamplingParams(max_tokens=1))
                    for index, name in enumerate("abc", start=1)))  # fmt: skip
    client.start()
    client.wait_for_end()
    assert [[delta.request_id for delta in deltas] for deltas in client.deliveries] == [
        ["a", "b", "c"]
    ]


# Refusing on the caller's thread


def test_what_can_never_be_served_is_refused_by_submit(new_client: NewClient) -> None:
    client = new_client(num_pages=4)
    with pytest.raises(InvalidRequest):
        client.loop.submit(request("a", []))
    with pytest.raises(InvalidRequest):
        client.loop.submit(request("a", [97]))
    with pytest.raises(ContextLengthExceeded):
        client.loop.submit(request("a", [1] * 17))


def test_full_queue_is_busy_and_has_room_again(new_client: NewClient) -> None:
    client = new_client(max_batch_size=1, engine_limits=limits(max_queued_requests=1))
    client.driver.runner.gate.clear()
    client.submit(request("a", [1]), request("b", [2]))
    with pytest.raises(EngineBusy):
        client.loop.submit(request("c", [3]))
    client.driver.runner.gate.set()
    client.wait_for_end("a")
    client.submit(request("c", [3]))
    client.wait_for_end()


def test_id_in_use_is_refused_until_its_request_ends(new_client: NewClient) -> None:
    client = new_client()
    client.driver.runner.gate.clear()
    client.submit(request("a", [1]))
    with pytest.raises(InvalidRequest):
        client.loop.submit(request("a", [1]))


# Aborting


def test_a_reset_empties_the_prefix_cache_of_an_idle_engine(new_client: NewClient) -> None:
    client = new_client()
    client.submit(request("a", range(1, 13)))
    client.wait_for_end("a")
    assert client.loop.stats().cached_pages > 0
    client.loop.reset_prefix_cache()
    client.submit(request("b", range(1, 13)))
    client.wait_for_end("b")
    assert client.driver.last["b"].num_cached_tokens == 0
    client.submit(request("c", range(1, 13)))
    client.wait_for_end("c")
    assert client.driver.last["c"].num_cached_tokens == 8


def test_a_reset_shows_in_the_gauge_without_another_request(new_client: NewClient) -> None:
    client = new_client()
    client.submit(request("a", range(1, 13)))
    client.wait_for_end("a")
    client.loop.reset_prefix_cache()
    client.stop()
    assert client.loop.stats().cached_pages == 0


def test_abort_ends_a_running_request(new_client: NewClient) -> None:
    client = new_client()
    client.submit(endless("a"))
    client.wait_for_token("a")
    client.loop.abort("a")
    client.wait_for_end()
    assert client.driver.reason("a") == FinishReason.ABORT
    assert client.loop.stats().used_pages == 0


def test_abort_ends_a_queued_request(new_client: NewClient) -> None:
    client = new_client(max_batch_size=1)
    client.driver.runner.gate.clear()
    client.submit(endless("a"), endless("b"))
    client.loop.abort("b")
    client.driver.runner.gate.set()
    client.wait_for_end("b")
    assert client.driver.outputs["b"] == []


def test_abort_of_the_unknown_and_the_ended_is_nothing(new_client: NewClient) -> None:
    client = new_client()
    client.loop.abort("never heard of")
    client.submit(request("a", [1]))
    client.wait_for_end()
    client.loop.abort("a")
    client.submit(request("b", [1]))
    client.wait_for_end()
    assert client.loop.stats().totals.finished[FinishReason.ABORT] == 0


def test_a_thousand_random_cancels_leave_nothing_behind(new_client: NewClient) -> None:
    client = new_client(num_pages=24, max_batch_size=6)

    def submit_and_cancel(name: str) -> None:
        rng = random.Random(name)
        for index in range(250):
            prompt = [rng.randrange(2) for _ in range(rng.randint(1, 40))]
            params = SamplingParams(max_tokens=rng.randint(1, 40))
            client.submit(request(f"{name}{index}", prompt, params))
            if rng.random() < 0.3:
                client.wait_for_token(f"{name}{index}")
            for _ in range(rng.choice([1, 1, 2])):
                client.loop.abort(f"{name}{rng.randint(max(0, index - 3), index)}")

    threads = [threading.Thread(target=submit_and_cancel, args=(name,)) for name in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    client.wait_for_end()
    assert len(client.driver.last) == 1000
    assert client.loop.health().alive
    client.driver.assert_as_alone()


# Failing


def failed_client(new_client: NewClient) -> Client:
    client = new_client(max_batch_size=2)
    client.driver.runner.fail_at_step = 3
    client.driver.runner.gate.clear()
    client.submit(*(endless(name) for name in "abc"))
    client.driver.runner.gate.set()
    client.wait_for_end()
    return client


def test_death_of_the_device_ends_every_request_with_an_error(new_client: NewClient) -> None:
    client = failed_client(new_client)
    for delta in client.driver.last.values():
        assert delta.finish_reason == FinishReason.ERROR
        assert "the engine failed" in (delta.error or "")
    assert client.loop.stats().totals.finished[FinishReason.ERROR] == 3


def test_submit_after_the_death_is_refused(new_client: NewClient) -> None:
    client = failed_client(new_client)
    with pytest.raises(EngineFailed, match="has failed"):
        client.loop.submit(request("d", [1]))
    client.loop.abort("a")


def test_health_tells_the_death_and_its_cause(new_client: NewClient) -> None:
    client = new_client()
    assert client.loop.health().alive
    client = failed_client(new_client)
    health = client.loop.health()
    assert not health.alive
    assert health.failure == "RuntimeError: the device is gone"
    assert health.stalled_s == 0


def test_health_tells_that_the_device_hangs(new_client: NewClient) -> None:
    client = new_client()
    assert client.loop.health().stalled_s == 0
    client.driver.runner.gate.clear()
    client.now_s = 150.0
    client.submit(request("a", [1]))
    client.now_s = 157.5
    assert client.loop.health().alive
    assert client.loop.health().stalled_s == 7.5
    client.driver.runner.gate.set()
    client.wait_for_end()
    assert client.loop.health().stalled_s == 0


def test_not_started_is_not_alive(new_client: NewClient) -> None:
    assert not new_client(start=False).loop.health().alive


# Stopping


def test_stop_lets_requests_finish(new_client: NewClient) -> None:
    client = new_client()
    client.submit(*(request(f"r{index}", [index + 1]) for index in range(10)))
    client.stop()
    client.driver.assert_as_alone()
    assert client.driver.last.keys() == client.driver.requests.keys()


def test_stop_aborts_what_does_not_finish_in_time(new_client: NewClient) -> None:
    client = new_client(num_pages=400, engine_limits=limits(max_model_len=1600))
    client.driver.runner.gate.clear()
    params = SamplingParams(max_tokens=1500, ignore_eos=True)
    client.submit(request("a", [1], params), request("b", [2], params))
    threading.Timer(0.05, client.driver.runner.gate.set).start()
    assert client.loop.stop(0.0)
    assert client.driver.reason("a") == client.driver.reason("b") == FinishReason.ABORT


def test_submit_while_stopping_is_refused(new_client: NewClient) -> None:
    client = new_client()
    client.stop()
    with pytest.raises(EngineFailed, match="shutting down"):
        client.loop.submit(request("a", [1]))


def test_stop_may_be_called_twice_and_without_start(new_client: NewClient) -> None:
    client = new_client()
    client.stop()
    client.stop()
    assert new_client(start=False).loop.stop(1.0)


# Counting


def test_stats_exist_from_the_beginning(new_client: NewClient) -> None:
    stats = new_client(num_pages=64).loop.stats()
    assert (stats.running, stats.waiting, stats.used_pages, stats.total_pages) == (0, 0, 0, 64)
    assert stats.totals.finished == dict.fromkeys(FinishReason, 0)


def test_stats_count_what_was_just_submitted(new_client: NewClient) -> None:
    client = new_client(start=False)
    client.submit(request("a", [1]), request("b", [1]))
    assert client.loop.stats().waiting == 2
    client.start()


def test_metrics_add_up_at_any_time(new_client: NewClient) -> None:
    client = new_client(num_pages=24, max_batch_size=3)
    rng = random.Random(5)
    for index in range(200):
        prompt = [rng.randrange(2) for _ in range(rng.randint(1, 30))]
        client.submit(request(f"r{index}", prompt, SamplingParams(max_tokens=rng.randint(1, 12))))
        if rng.random() < 0.2:
            client.loop.abort(f"r{rng.randint(0, index)}", rng.choice([*FinishReason]))
        taken = client.loop.metrics()
        ended = sum(taken.stats.totals.finished.values())
        assert taken.accepted == index + 1 == ended + taken.stats.running + taken.stats.waiting
        assert taken.histograms.total_s.count == ended
    client.wait_for_end()
    rest = client.loop.metrics()
    assert rest.accepted == 200 == sum(rest.stats.totals.finished.values())
    assert (rest.stats.running, rest.stats.waiting, rest.batch_max_tokens) == (0, 0, 0)
    assert rest.histograms.output_tokens.sum == rest.stats.totals.generation_tokens
    assert sum(h.count for h in rest.histograms.step_s.values()) == rest.stats.totals.steps
    assert rest.failed_steps == {"prefill": 0, "decode": 0}


def test_an_abort_counts_as_what_it_was_for(new_client: NewClient) -> None:
    client = new_client()
    client.submit(endless("a"))
    client.wait_for_token("a")
    client.loop.abort("a", FinishReason.STOP)
    client.wait_for_end()
    finished = client.loop.stats().totals.finished
    assert (finished[FinishReason.STOP], finished[FinishReason.ABORT]) == (1, 0)


def test_the_death_of_the_device_is_in_the_metrics(new_client: NewClient) -> None:
    taken = failed_client(new_client).loop.metrics()
    assert taken.accepted == 3 == taken.stats.totals.finished[FinishReason.ERROR]
    assert taken.histograms.total_s.count == 3
    assert sum(taken.failed_steps.values()) == 1
    assert not taken.health.alive


def test_metrics_answer_while_the_device_hangs(new_client: NewClient) -> None:
    client = new_client()
    client.driver.runner.gate.clear()
    client.submit(endless("a"))
    assert client.loop.metrics().accepted == 1


def test_compilations_of_the_runner_are_in_the_metrics(new_client: NewClient) -> None:
    client = new_client()
    client.driver.runner.num_compiled_after_ready = 2
    assert client.loop.metrics().compiled_after_ready == 2


def test_a_busy_engine_says_when_to_come_back(new_client: NewClient) -> None:
    client = new_client(max_batch_size=1, engine_limits=limits(max_queued_requests=4))
    client.submit(request("first", [1], SamplingParams(max_tokens=1)))
    client.submit(endless("stays"))
    client.wait_for_token("stays")
    client.driver.runner.gate.clear()
    client.now_s += 10.0  # one has ended in ten seconds of work
    client.submit(*(request(f"r{index}", [1]) for index in range(4)))
    with pytest.raises(EngineBusy) as busy:
        client.loop.submit(request("d", [1]))
    assert busy.value.retry_after_s == 40.0
    assert client.loop.metrics().predicted_wait_s == 40.0


def some_tokens(length: int) -> Callable[[History], set[int]]:
    return lambda output: {4, 8, len(output) + 9} if len(output) < length else {EOS}


def constrained(request_id: str, constraint: FakeConstraint, *, max_tokens: int = 12) -> Request:
    params = SamplingParams(max_tokens=max_tokens)
    return request(request_id, [sum(request_id.encode()) % 97], params, constraint=constraint)


def test_constrained_requests_get_what_they_get_alone(new_client: NewClient) -> None:
    client = new_client(num_pages=24)
    for index in range(40):
        client.submit(constrained(f"c{index}", FakeConstraint(some_tokens(1 + index % 9))))
        if index % 3 == 0:
            client.submit(request(f"r{index}", [index], SamplingParams(max_tokens=5)))
    client.wait_for_end()
    client.driver.assert_as_alone()


def test_a_constraint_that_fails_ends_its_request_with_an_error(new_client: NewClient) -> None:
    client = new_client()
    client.submit(
        constrained("at once", FakeConstraint(lambda output: {5}, fail_after=0)),
        constrained("later", FakeConstraint(lambda output: {5}, fail_after=3)),
        constrained("fine", FakeConstraint(lambda output: {5})),
        request("free", [1, 2, 3], SamplingParams(max_tokens=30, ignore_eos=True)),
    )
    client.wait_for_end()
    for request_id in ("at once", "later"):
        assert client.driver.reason(request_id) is FinishReason.ERROR
        assert client.driver.last[request_id].error == "the grammar is too complex"
    assert client.driver.outputs["later"] == [5, 5, 5]
    assert client.driver.reason("fine") is FinishReason.LENGTH
    assert client.driver.reason("free") is FinishReason.LENGTH


def test_a_slow_mask_holds_nobody_else_up(new_client: NewClient) -> None:
    released = threading.Event()

    class Slow(FakeConstraint):
        def next_mask(self) -> bytes:
            assert len(self.given) < 3 or released.wait(PATIENCE_S)
            return super().next_mask()

    client = new_client()
    client.submit(constrained("slow", Slow(lambda output: {5})))
    for request_id in ("beside it", "while nothing else runs"):
        client.submit(request(request_id, [1, 2, 3], SamplingParams(max_tokens=50)))
        client.wait_for_end(request_id)
    client.wait_for_token("slow", 3)
    assert client.driver.outputs["slow"] == [5] * 3
    released.set()
    client.wait_for_end()
    assert client.driver.outputs["slow"] == [5] * 12


def test_an_abort_reaches_a_request_whose_mask_is_being_made(new_client: NewClient) -> None:
    client = new_client()
    client.submit(constrained("a", FakeConstraint(lambda output: {5}), max_tokens=200))
    client.wait_for_token("a")
    client.loop.abort("a")
    client.wait_for_end()
    assert client.driver.reason("a") is FinishReason.ABORT
