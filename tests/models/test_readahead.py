"""Files are read ahead of the work, not too far, and no longer than it lasts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from jaxserve.models.readahead import ReadAhead, Span

MIB = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(bytes(8 * MIB))
    return path


class Reads:
    """What was asked of the disk, in MiB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.at: list[int] = []
        self._more = threading.Condition()
        preadv = os.preadv

        def recorded(fd: int, buffers: list[bytearray], offset: int) -> int:
            with self._more:
                self.at.append(offset // MIB)
                self._more.notify()
            return preadv(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", recorded)

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.at) >= count, timeout=30)


def spans(file: Path, *numbers: int) -> list[list[Span]]:
    """Pieces of work, each with two MiB of the file."""
    return [[Span(file, number * 2 * MIB, 2 * MIB)] for number in numbers]


def test_all_is_read_in_the_order_of_the_work(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    with ReadAhead(spans(file, 2, 0, 2, 1)):
        reads.wait_for(6)
    assert reads.at == [4, 5, 0, 1, 2, 3]


def test_it_waits_where_it_is_far_enough_ahead(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    with ReadAhead(spans(file, 0, 1, 2, 3), ahead_bytes=3 * MIB) as ahead:
        reads.wait_for(3)
        assert reads.at == [0, 1, 2]
        ahead.begin(1)
        reads.wait_for(5)
        assert reads.at == [0, 1, 2, 3, 4]
    assert len(reads.at) == 5


def test_what_cannot_be_read_is_left_to_who_needs_it(tmp_path: Path) -> None:
    with ReadAhead([[Span(tmp_path / "nowhere", 0, MIB)]]) as ahead:
        ahead.begin(0)
