"""Files that hold something else have another name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jaxserve.models.content import content_digest

SIZE = 3 << 20


def write(path: Path, seed: int) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(SIZE))
    return path


def test_what_is_the_same_has_the_same_name_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = write(tmp_path / "a", 1), write(tmp_path / "other" / "a", 1)
    assert content_digest([one]) == content_digest([other])


def test_other_numbers_in_files_of_the_same_size_have_another(tmp_path: Path) -> None:
    before = content_digest([write(tmp_path / "a", 1)])
    assert content_digest([write(tmp_path / "a", 2)]) != before


@pytest.mark.parametrize("place", [0, (1 << 20) - 1, SIZE - 1])
def test_a_byte_of_the_head_or_the_end_is_enough(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "a", 1)
    before, content = content_digest([path]), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert content_digest([path]) != before


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 20) + 5])
def test_small_files_are_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    before = content_digest([path])
    path.write_bytes(bytes(max(size - 1, 0)) + b"1")
    assert content_digest([path]) != before


def test_names_count_and_order_does_not(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a", 1), write(tmp_path / "b", 1)
    assert content_digest([one]) != content_digest([two])
    assert content_digest([one, two]) == content_digest([two, one])
    assert content_digest([]) != content_digest([one])
