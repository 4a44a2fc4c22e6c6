"""A request with an adapter gets what the merged model gives, whoever its neighbours are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxserve.engine.request import Request
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.adapters import Room
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import adapter_modules, load_model
from jaxserve.models.peft import read_adapter
from jaxserve.sharding.mesh import make_mesh
from tests.engine.driver import FLOAT32, LIMITS, Answer, Driver, make_request, make_runner
from tests.peft_folders import write_adapter, write_merged
from tests.tiny_models import write_tiny_llama

SMALL = EngineSizes(
    page_size=4, num_pages=160, max_batch_size=4, token_budget=32, max_model_len=128
)
ROOM = Room(num_adapters=3, max_rank=8)
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5]


@dataclass
class Folders:
    base: Path
    adapters: list[Path]
    merged: list[Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Two adapters, of another rank and other layers, and each merged into the base."""
    root = tmp_path_factory.mktemp("lora")
    base = write_tiny_llama(root / "base")
    every = ("_proj",)
    adapters = [
        write_adapter(root / "a", base, rank=4, alpha=6.0, seed=1),
        write_adapter(root / "b", base, rank=8, alpha=8.0, seed=2, targets=every, use_rslora=True),
    ]
    scales = (6.0 / 4, 8.0 / 8**0.5)
    merged = [
        write_merged(root / f"merged{i}", base, adapter, scale=scale)
        for i, (adapter, scale) in enumerate(zip(adapters, scales, strict=True))
    ]
    return Folders(base, adapters, merged)


def with_adapters(folders: Folders, *, tensor_parallel: int = 1) -> Runner:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    model = load_model(folders.base, dtype=FLOAT32, mesh=mesh)
    runner = Runner(
        model,
        attention=XlaAttention(),
        mesh=mesh,
        sizes=SMALL,
        limits=LIMITS,
        dtype=FLOAT32,
        room=ROOM,
    )
    runner.warm_up()
    modules = adapter_modules(folders.base, model)
    first, second = (read_adapter(f, modules, max_rank=ROOM.max_rank) for f in folders.adapters)
    runner.set_adapters({0: first, 2: second})
    return runner


@pytest.fixture(scope="module")
def runner(folders: Folders) -> Iterator[Runner]:
    runner = with_adapters(folders)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def reference(folders: Folders) -> list[Answer]:
    """The base, and each of the merged models."""
    answers = []
    for folder in (folders.base, *folders.merged):
        runner = make_runner(folder, sizes=SMALL)
        answers.append(driver(runner).run(asked("r"))[0])
        runner.close()
    return answers


def driver(runner: Runner, **options: Any) -> Driver:
    return Driver(runner, **{"max_batch_size": 4, "token_budget": 32, **options})


def asked(name: str, *, adapter: int = 0, **params: Any) -> Request:
    request = make_request(name, PROMPT, **params)
    request.adapter = adapter
    request.cache_salt = str(adapter)
    return request


def assert_same(answer: Answer, reference: Answer) -> None:
    assert answer.token_ids == reference.token_ids
    np.testing.assert_allclose(answer.logprobs, reference.logprobs, atol=1e-4)


def test_adapters_change_the_answer(reference: list[Answer]) -> None:
    assert len({tuple(answer.token_ids) for answer in reference}) == 3


@pytest.mark.parametrize(("adapter", "index"), [(0, 0), (1, 1), (3, 2), (2, 0)])
def test_alone_it_is_the_merged_model(
    runner: Runner, reference: list[Answer], adapter: int, index: int
) -> None:
    assert_same(driver(runner).run(asked("r", adapter=adapter))[0], reference[index])


@pytest.mark.parametrize("options", [{}, {"token_budget": 9}])
def test_a_batch_that_mixes_adapters_is_each_alone(
    runner: Runner, reference: list[Answer], options: dict[str, Any]
) -> None:
    mixed = [(1, 1), (0, 0), (3, 2), (1, 1)]
    requests = [asked(f"r{i}", adapter=adapter) for i, (adapter, _) in enumerate(mixed)]
    answers = driver(runner, **options).run(*requests)
    for answer, (_, index) in zip(answers, mixed, strict=True):
        assert_same(answer, reference[index])


def test_loading_compiles_nothing(runner: Runner, folders: Folders) -> None:
    driver(runner).run(asked("r", adapter=1))
    assert runner.num_compiled_after_ready == 0


def test_devices_that_share_a_layer_share_its_adapters(
    folders: Folders, reference: list[Answer]
) -> None:
    runner = with_adapters(folders, tensor_parallel=2)
    answers = driver(runner, ahead=False).run(asked("a", adapter=1), asked("b", adapter=3))
    runner.close()
    for answer, expected in zip(answers, reference[1:], strict=True):
        assert_same(answer, expected)
