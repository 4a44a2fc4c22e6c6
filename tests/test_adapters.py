"""Adapters by name: places are given, taken, and never swapped under a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from jaxserve.adapters import Adapters
from jaxserve.errors import (
    AdapterNotFound,
    CheckpointError,
    ConfigError,
    EngineBusy,
    InvalidRequest,
)
from jaxserve.models.adapters import Held, Room, Weights
from jaxserve.models.stored import one, piece
from tests.peft_folders import write_adapter
from tests.tiny_models import write_tiny_llama

SIZES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.v_proj": (32, 32),
    "mlp.down_proj": (32, 48),
}
MODULES = {
    f"model.layers.{i}.{name}": (
        Held(f"layers.{i}.{name}", piece(one(name), 0, [sizes], sizes[:1])),
    )
    for i in range(2)
    for name, sizes in SIZES.items()
}


class Devices:
    """What is placed, and which adapters requests use."""

    def __init__(self) -> None:
        self.placed: Mapping[int, Weights] = {}
        self.used: set[int] = set()
        self.adapters = Adapters(
            MODULES, Room(2, 8), place=self.place, is_used=self.used.__contains__
        )

    def place(self, weights: Mapping[int, Weights]) -> None:
        self.placed = dict(weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lora")
    return write_adapter(root / "a", write_tiny_llama(root / "base"))


def test_each_gets_a_place_of_its_own(folder: Path) -> None:
    devices = Devices()
    devices.adapters.load("one", folder)
    devices.adapters.load("two", folder)
    one, two = devices.adapters.find("one"), devices.adapters.find("two")
    assert one and two and {one.place, two.place} == {0, 1} == set(devices.placed)
    assert devices.adapters.names == ("one", "two")
    with pytest.raises(ConfigError, match="all 2 places"):
        devices.adapters.load("three", folder)


def test_a_name_is_given_once_unless_it_is_said_again(folder: Path) -> None:
    adapters = Devices().adapters
    adapters.load("one", folder)
    with pytest.raises(InvalidRequest, match="loaded already"):
        adapters.load("one", folder)
    before = adapters.find("one")
    adapters.load("one", folder, again=True)
    after = adapters.find("one")
    assert before and after and before.number != after.number
    assert adapters.names == ("one",)


def test_a_place_in_use_is_given_to_nobody_else(folder: Path) -> None:
    devices = Devices()
    devices.adapters.load("one", folder)
    devices.adapters.load("two", folder)
    devices.used.add(1)
    devices.adapters.unload("one")
    with pytest.raises(EngineBusy, match="still use"):
        devices.adapters.load("three", folder)
    devices.used.clear()
    devices.adapters.load("three", folder)


def test_one_that_is_said_again_may_take_its_own_place(folder: Path) -> None:
    devices = Devices()
    devices.adapters.load("one", folder)
    devices.adapters.load("two", folder)
    devices.used.add(1)
    with pytest.raises(EngineBusy, match="still use"):
        devices.adapters.load("one", folder, again=True)
    devices.used.clear()
    devices.adapters.load("one", folder, again=True)
    one = devices.adapters.find("one")
    assert one and one.place == 0


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    adapters = Devices().adapters
    with pytest.raises(AdapterNotFound, match="no folder"):
        adapters.load("one", tmp_path / "nowhere")
    with pytest.raises(AdapterNotFound, match="no adapter 'one'"):
        adapters.unload("one")
    with pytest.raises(CheckpointError, match="is no adapter"):
        adapters.load("one", tmp_path)
    assert adapters.find("one") is None
