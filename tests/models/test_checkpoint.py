import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from jaxserve.errors import CheckpointError
from jaxserve.models.checkpoint import open_checkpoint, read_json, shortened
from tests.text.model_folders import byte_level

Saved = Callable[[str], Path]
A, B = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones(5, ml_dtypes.bfloat16)


def write_index(folder: Path, **weight_map: str) -> None:
    text = json.dumps({"weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def test_one_file_is_described_without_reading_numbers(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, tmp_path / "model.safetensors")
    stored = open_checkpoint(tmp_path)
    assert {key: (t.shape, t.type_name) for key, t in stored.items()} == {
        "a": ((4, 3), "F32"),
        "b": ((5,), "BF16"),
    }


def test_a_slice_is_read_by_itself(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, tmp_path / "model.safetensors")
    stored = open_checkpoint(tmp_path)
    np.testing.assert_array_equal(stored["a"].read((slice(1, 3), slice(None, 2))), A[1:3, :2])
    np.testing.assert_array_equal(stored["b"].read((slice(None),)), B)
    assert stored["b"].read((slice(0, 2),)).dtype == ml_dtypes.bfloat16


def test_what_was_read_outlives_the_checkpoint(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "model.safetensors")
    read = open_checkpoint(tmp_path)["a"].read((slice(None), slice(None)))
    (tmp_path / "model.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(read, A)


def test_files_of_an_index_are_one_checkpoint(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "1.safetensors")
    save_file({"b": B}, tmp_path / "2.safetensors")
    write_index(tmp_path, a="1.safetensors", b="2.safetensors")
    assert {key: t.file.name for key, t in open_checkpoint(tmp_path).items()} == {
        "a": "1.safetensors",
        "b": "2.safetensors",
    }


def test_a_single_file_goes_before_an_index(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "model.safetensors")
    write_index(tmp_path, a="gone.safetensors")
    assert list(open_checkpoint(tmp_path)) == ["a"]


def test_missing_files_of_an_index_are_all_named(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "1.safetensors")
    write_index(tmp_path, a="1.safetensors", b="2.safetensors", c="3.safetensors")
    with pytest.raises(CheckpointError) as refusal:
        open_checkpoint(tmp_path)
    assert "names 3 files, of which 2 are not there" in str(refusal.value)
    assert "2.safetensors, 3.safetensors" in str(refusal.value)


def test_a_key_in_two_files_is_refused(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / "1.safetensors")
    save_file({"a": A, "b": B}, tmp_path / "2.safetensors")
    write_index(tmp_path, a="1.safetensors", b="2.safetensors")
    with pytest.raises(CheckpointError, match="a is both in"):
        open_checkpoint(tmp_path)


def test_an_index_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    write_index(tmp_path, a="../elsewhere.safetensors")
    with pytest.raises(CheckpointError, match="outside of its folder"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_without_a_map_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="has no weight_map"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_file_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": A}, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model.safetensors is cut short .* download"):
        open_checkpoint(tmp_path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match=r"model.safetensors .* no safetensors file"):
        open_checkpoint(tmp_path)


def test_a_folder_without_weights_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor .*index.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError) as refusal:
        open_checkpoint(tmp_path)
    assert f"only {name}. Pickles can run code" in str(refusal.value)
    assert str(refusal.value).splitlines()[-1].startswith("python -c ")


def test_pickles_are_converted_by_the_class_that_the_config_names(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    for names, expected in (
        (["BertForSequenceClassification"], "import BertForSequenceClassification as M"),
        (["os; print(1)"], "import AutoModelForCausalLM as M"),
        ([], "import AutoModelForCausalLM as M"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": names}))
        with pytest.raises(CheckpointError, match=expected):
            open_checkpoint(tmp_path)


def run_given_command(folder: Path) -> None:
    """Do what the refusal of `folder` says, with this Python."""
    with pytest.raises(CheckpointError) as refusal:
        open_checkpoint(folder)
    arguments = shlex.split(str(refusal.value).splitlines()[-1])[1:]
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def assert_stored(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    stored = open_checkpoint(folder)
    assert stored.keys() == weights.keys()
    for key, tensor in stored.items():
        np.testing.assert_array_equal(tensor.read(slice(None)), weights[key])


def pickled(saved: Saved, folder: Path, name: str) -> dict[str, np.ndarray]:
    """Make `folder` a checkpoint with a pickle for its weights, which are returned."""
    shutil.copytree(saved("llama-tied"), folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({key: torch.tensor(value) for key, value in weights.items()}, folder / name)
    return weights


def test_the_command_for_a_bin_file_works(saved: Saved, tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    weights = pickled(saved, folder, "pytorch_model.bin")
    byte_level(folder)
    run_given_command(folder)
    made = Path(f"{folder}-safetensors")
    assert_stored(made, weights)
    assert (made / "tokenizer.json").is_file() and (made / "config.json").is_file()


def test_the_command_for_a_pt_file_works(saved: Saved, tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    weights = pickled(saved, folder, "model.pt")
    run_given_command(folder)
    assert_stored(folder, weights)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "holds list, not a JSON object"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, content: bytes, names: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"config.json {names}"):
        read_json(tmp_path / "config.json")


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*: No such file"):
        read_json(tmp_path / "config.json")


def test_long_lists_are_cut() -> None:
    assert shortened(["a", "b"]) == "a, b"
    assert shortened(list("abcdef"), limit=4) == "a, b, c, d ... and 2 more"
