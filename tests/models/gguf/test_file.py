"""The header is read as the gguf library reads it, and what is broken is named."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.gguf.file import open_gguf, parts_of
from tests.models.gguf.gguf_files import tiny_gguf

VALUES = {
    "llama.text": "Grüße",
    "llama.list": ["a", "é", ""],
    "llama.numbers": [1, 2, 3],
    "llama.switch": True,
    "llama.decimal": 1e-6,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "folder", tmp_path / "model.gguf", metadata=VALUES)


def test_metadata_and_tensors_are_those_of_the_library(file: Path) -> None:
    ours, theirs = open_gguf(file), gguf.GGUFReader(file)
    for key, value in ours.metadata.items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        expected = theirs.fields[key].contents()
        assert plain == (pytest.approx(expected) if isinstance(plain, float) else expected)
    assert len(ours.metadata) == len([key for key in theirs.fields if key[:5] != "GGUF."])
    assert ours.metadata["llama.decimal"] == 1e-6
    for tensor in theirs.tensors:
        found = ours.tensors[tensor.name]
        assert (found.type, found.shape) == (tensor.tensor_type, tuple(tensor.shape[::-1]))
        np.testing.assert_array_equal(found.rows, tensor.data.view(np.uint8))
    assert len(ours.tensors) == len(theirs.tensors)


def test_parts_are_one_model(tmp_path: Path) -> None:
    names = [f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for name, kept in zip(names, ("blk.0.", "blk.1."), strict=True):
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_uint16("split.count", 2)
        writer.add_tensor(f"{kept}attn_q.weight", np.ones((2, 4), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert sorted(open_gguf(tmp_path / names[0]).tensors) == [
        "blk.0.attn_q.weight",
        "blk.1.attn_q.weight",
    ]
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointError, match=f"one of 2 files; missing: {names[1]}"):
        parts_of(tmp_path / names[0])


def test_a_key_in_two_parts_is_refused(file: Path) -> None:
    for number in (1, 2):
        file.with_name(f"m-0000{number}-of-00002.gguf").write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="is both in"):
        open_gguf(file.with_name("m-00001-of-00002.gguf"))


@pytest.mark.parametrize("kept", [3, 10, 24, 100, 3000, -1])
def test_a_file_cut_short_is_named(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model.gguf is cut short or broken .* download"):
        open_gguf(file)


def test_what_is_no_gguf_file_is_named(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        open_gguf(file)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="is no GGUF file"):
        open_gguf(file)
    file.write_bytes(b"GGUF" + (3).to_bytes(4, "big") + bytes(16))
    with pytest.raises(UnsupportedModel, match="big-endian"):
        open_gguf(file)
    with pytest.raises(CheckpointError, match="No such file"):
        open_gguf(file.with_name("gone.gguf"))
