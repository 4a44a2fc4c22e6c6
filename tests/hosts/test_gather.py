"""Hosts find each other, agree, and miss each other; with no devices and no processes."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jaxserve.engine.commands import Command, RunStep
from jaxserve.engine.sizes import EngineSizes
from jaxserve.errors import ConfigError
from jaxserve.hosts.follower import Leader, join
from jaxserve.hosts.leader import Followers, gather
from jaxserve.hosts.terms import Place, Terms

PATIENCE_S = 30.0
SETTINGS = {"jaxserve": "1", "tensor_parallel": 2}
SIZES = EngineSizes(page_size=16, num_pages=8, max_batch_size=2, token_budget=64, max_model_len=32)
TERMS = Terms(SIZES, vocab_size=60, max_logprobs=5, room=None)


class FakeRunner:
    tell: Callable[[Command], None]

    def lead(self, tell: Callable[[Command], None]) -> None:
        self.tell = tell


@pytest.fixture
def place() -> Place:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Place(0, 3, "127.0.0.1", port)


def together(place: Place) -> tuple[Followers, list[Leader]]:
    with ThreadPoolExecutor(place.num_hosts) as pool:
        others = [
            pool.submit(join, replace(place, index=index), SETTINGS, within_s=PATIENCE_S)
            for index in range(1, place.num_hosts)
        ]
        first = gather(place, SETTINGS, within_s=PATIENCE_S)
        return first, [other.result() for other in others]


def end(first: Followers, others: list[Leader]) -> None:
    first.close()
    for leader in others:
        leader.close()


def test_the_host_with_the_least_memory_decides_and_all_do_as_the_first_tells(
    place: Place,
) -> None:
    first, others = together(place)
    done: list[Any] = []

    def follow(leader: Leader, free_bytes: int) -> None:
        done.append(leader.loaded(free_bytes, "same"))
        leader.ready()
        done.extend(leader.commands())
        leader.close()

    threads = [
        threading.Thread(target=follow, args=args) for args in zip(others, (700, 300), strict=True)
    ]
    for thread in threads:
        thread.start()
    assert first.least(500, "same") == 300
    first.agree(TERMS)
    runner = FakeRunner()
    first.lead(runner)
    runner.tell(RunStep(1, np.arange(3, dtype=np.int32)))
    first.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert done.count(TERMS) == 2
    steps = [each for each in done if isinstance(each, RunStep)]
    assert [(step.bucket, step.words.tolist()) for step in steps] == [(1, [0, 1, 2])] * 2


def test_another_model_is_refused_by_the_host_that_has_it(place: Place) -> None:
    first, others = together(place)
    with ThreadPoolExecutor(2) as pool:
        for leader, digest in zip(others, ("same", "other"), strict=True):
            pool.submit(leader.loaded, 1, digest)
        with pytest.raises(ConfigError, match="host 2 has loaded another model"):
            first.least(1, "same")
        first.agree(TERMS)  # so that the threads end
    end(first, others)


def test_a_lost_host_is_missed_by_name(place: Place) -> None:
    first, others = together(place)
    lost: queue.Queue[str] = queue.Queue()
    first.on_lost = lost.put
    others[1].close()
    assert lost.get(timeout=PATIENCE_S) == "host 2 of 3 is lost: its process has ended"
    others[0].fail("there is no folder /models")
    assert lost.get(timeout=PATIENCE_S) == "host 1 of 3 is lost: there is no folder /models"
    end(first, others)


def test_the_others_miss_the_first(place: Place) -> None:
    first, others = together(place)
    lost: queue.Queue[str] = queue.Queue()
    for leader in others:
        leader._on_lost = lost.put
    first.close("the KV cache does not fit")
    said = {lost.get(timeout=PATIENCE_S) for _ in others}
    assert said == {"host 0, which schedules, is lost: the KV cache does not fit"}
    end(first, others)


def test_a_host_that_is_told_to_end_has_the_first_one_end_the_service(place: Place) -> None:
    first, others = together(place)
    told = threading.Event()
    first.on_leaving = told.set
    others[0].leave()
    assert told.wait(PATIENCE_S)
    end(first, others)


def test_other_settings_are_refused_on_both_sides(place: Place) -> None:
    two, other = replace(place, num_hosts=2), {**SETTINGS, "tensor_parallel": 4}
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(join, replace(two, index=1), other, within_s=PATIENCE_S)
        says = "host 1 has tensor_parallel = 4 where host 0 has 2"
        with pytest.raises(ConfigError, match=says):
            gather(two, SETTINGS, within_s=PATIENCE_S)
        with pytest.raises(ConfigError, match=says):
            joining.result()


def test_missing_hosts_are_named(place: Place) -> None:
    with pytest.raises(ConfigError, match="host 1 and 2 of 3 did not come"):
        gather(place, SETTINGS, within_s=0.01)


def test_a_stranger_is_left_out(place: Place) -> None:
    two = replace(place, num_hosts=2)
    with ThreadPoolExecutor(1) as pool:
        gathering = pool.submit(gather, two, SETTINGS, within_s=PATIENCE_S)
        while True:
            try:
                stranger = socket.create_connection((place.host, place.port), PATIENCE_S)
                break
            except ConnectionRefusedError:
                continue
        with stranger:
            stranger.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            leader = join(replace(two, index=1), SETTINGS, within_s=PATIENCE_S)
            gathering.result().close()
    leader.close()


def test_nobody_at_the_address_is_said(place: Place) -> None:
    with pytest.raises(ConfigError, match="host 0 is not at coordinator = 127"):
        join(replace(place, index=1), SETTINGS, within_s=0.01)
