"""A converted folder has all that the original had but its weights, and serves alike."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxserve.config import ModelSource
from jaxserve.convert import convert
from jaxserve.errors import CheckpointError, ConfigError
from jaxserve.models.gguf.file import open_gguf
from jaxserve.models.hub import resolve
from jaxserve.models.loading import load_model
from jaxserve.models.source import read_generation_config
from jaxserve.sharding.mesh import make_mesh
from jaxserve.text.chat import ChatOptions
from jaxserve.text.tokenizer import load_tokenizer
from tests.models.gguf.gguf_files import convert as convert_to_gguf
from tests.text.model_folders import byte_level
from tests.text.test_gguf_tokenizer import sentencepiece_file
from tests.tiny_models import write_tiny_llama


def quietly(model: Path, target: Path, **options: str) -> None:
    source = ModelSource(model=str(model), **options)  # type: ignore[arg-type]
    convert(source, target, log=io.StringIO())


def assert_same_weights(one: Path, other: Path) -> None:
    mesh, dtype = make_mesh(tensor_parallel=1), jnp.dtype("float32")
    models = (load_model(path, dtype=dtype, mesh=mesh) for path in (one, other))
    for left, right in zip(*(model.params for model in models), strict=True):
        np.testing.assert_array_equal(left, right)


def values_of(file: Path) -> dict[str, Any]:
    """The metadata of a GGUF file, to write it into another."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in open_gguf(file).metadata.items()
        if key != "general.architecture"
    }


def cast_weights(folder: Path, dtype: type) -> Path:
    file = folder / "model.safetensors"
    save_file({key: value.astype(dtype) for key, value in load_file(file).items()}, file)
    return folder


def test_the_shipped_model_converts_whole(tmp_path: Path) -> None:
    log = io.StringIO()
    convert(ModelSource(), tmp_path / "out", log=log)
    assert f"jaxserve serve {tmp_path / 'out'}" in log.getvalue()
    shipped = resolve(None, revision=None)
    assert_same_weights(shipped, tmp_path / "out")
    chat = [{"role": "user", "content": "Grüße"}]
    texts = {
        load_tokenizer(folder).render_chat(chat, ChatOptions())
        for folder in (shipped, tmp_path / "out")
    }
    assert len(texts) == 1
    assert (tmp_path / "out" / "generation_config.json").is_file()
    assert not list((tmp_path / "out").glob("*.safetensors*"))


def test_templates_in_a_folder_of_their_own_come_along(tmp_path: Path) -> None:
    folder = byte_level(write_tiny_llama(tmp_path / "in"))
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    (folder / "model.safetensors.index.json").write_text("{}")
    quietly(folder, tmp_path / "out")
    copied = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.j*")}
    assert {"additional_chat_templates/tool_use.jinja", "tokenizer.json"} < copied
    assert "model.safetensors.index.json" not in copied


def test_a_gguf_file_becomes_a_folder_with_all_it_says(tmp_path: Path) -> None:
    shipped = resolve(None, revision=None)
    named = values_of(sentencepiece_file(shipped, tmp_path / "words.gguf"))
    metadata = {**named, "general.sampling.temp": 0.5}
    file = convert_to_gguf(shipped, tmp_path / "model.gguf", "llama", metadata=metadata)
    quietly(file, tmp_path / "out")
    assert_same_weights(file, tmp_path / "out")
    assert_same_weights(file, shipped)
    before, after = load_tokenizer(file), load_tokenizer(tmp_path / "out")
    chat = [{"role": "user", "content": "Grüße, 12 names"}]
    text = before.render_chat(chat, ChatOptions())
    assert after.render_chat(chat, ChatOptions()) == text
    ids = before.encode(text, add_special_tokens=True)
    assert after.encode(text, add_special_tokens=True) == ids
    assert load_tokenizer(shipped).encode(text, add_special_tokens=True) == ids
    assert after.eos_ids == before.eos_ids
    assert read_generation_config(tmp_path / "out")["temperature"] == 0.5


@pytest.mark.parametrize(
    ("stored", "option", "kept"),
    [
        (ml_dtypes.bfloat16, "auto", 2),
        (np.float16, "auto", 2),
        (np.float32, "auto", 4),
        (np.float32, "bfloat16", 2),
        (ml_dtypes.bfloat16, "float32", 4),
    ],
)
def test_the_precision_is_the_one_that_is_stored_or_asked_for(
    tmp_path: Path, stored: type, option: str, kept: int
) -> None:
    folder = cast_weights(write_tiny_llama(tmp_path / "in", vocab_size=20_000), stored)
    quietly(folder, tmp_path / "out", dtype=option)
    weights = (tmp_path / "out" / "weights").rglob("*")
    num_bytes = sum(file.stat().st_size for file in weights if file.is_file())
    num_params = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    assert num_bytes == pytest.approx(kept * num_params, rel=0.02)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "in")
    with pytest.raises(ConfigError, match="exists and is no empty folder"):
        quietly(folder, folder)
    with pytest.raises(ConfigError, match="exists and is no empty folder"):
        quietly(folder, folder / "config.json")
    (tmp_path / "out").mkdir()
    quietly(folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match="is converted already"):
        quietly(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()
