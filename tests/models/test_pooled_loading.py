"""Folders of sentence-transformers give the vectors that sentence-transformers gives."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.pooled_loading import is_pooled, load_pooled_model
from jaxserve.sharding.mesh import make_mesh
from tests.models.pooled_variants import BERT
from tests.models.tolerance import assert_agrees
from tests.models.variant import Variant

LENS, LENGTH = (9, 4), 12
TOKENS = np.random.default_rng(3).integers(0, 60, (2, LENGTH))


def load(folder: Path) -> Any:
    return load_pooled_model(folder, dtype=jnp.dtype("float32"), mesh=make_mesh(tensor_parallel=1))


def vectors(folder: Path) -> np.ndarray:
    loaded = load(folder)
    inputs = (jnp.asarray(x, jnp.int32) for x in (TOKENS, np.zeros_like(TOKENS), LENS))
    run = jax.jit(lambda params, *given: loaded.merge(params)(*given))
    return np.asarray(run(loaded.params, *inputs))


@pytest.fixture(scope="module")
def folder_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """A folder that sentence-transformers wrote, and its own modules after the transformer."""

    def save(**pooling: Any) -> tuple[Path, Any]:
        with warnings.catch_warnings():  # of its own imports
            warnings.simplefilter("ignore")
            from sentence_transformers.base.modules import Dense, Normalize
            from sentence_transformers.sentence_transformer.modules import Pooling

        folder = tmp_path_factory.mktemp("sentences")
        Variant({}, "BertModel", BERT).save(folder)
        modules = [Pooling(32, **pooling)]
        size = modules[0].get_embedding_dimension()
        modules += [Dense(size, 24), Dense(24, 8, activation_function=torch.nn.GELU()), Normalize()]
        entries = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
        for index, module in enumerate(modules, start=1):
            path = f"{index}_{type(module).__name__}"
            (folder / path).mkdir()
            module.save(str(folder / path))
            entries.append({"type": f"st.{type(module).__name__}", "path": path})
        (folder / "modules.json").write_text(repr(entries).replace("'", '"'))
        return folder, torch.nn.Sequential(*modules)

    return save


@pytest.mark.parametrize(
    "modes",
    ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("max", "cls")],
)
def test_vectors_are_those_of_sentence_transformers(
    modes: Any, folder_with: Callable[..., tuple[Path, Any]]
) -> None:
    import transformers

    folder, modules = folder_with(pooling_mode=modes)
    model = transformers.BertModel.from_pretrained(folder, dtype=torch.float32)
    mask = torch.tensor([[int(i < n) for i in range(LENGTH)] for n in LENS])
    with torch.no_grad():
        hidden = model(torch.tensor(TOKENS), attention_mask=mask).last_hidden_state
        features = modules({"token_embeddings": hidden, "attention_mask": mask})
    ours = vectors(folder)
    assert ours.shape == (2, 8)
    assert_agrees(ours, features["sentence_embedding"].numpy())


def test_without_word_on_it_a_vector_is_the_mean(tmp_path: Path) -> None:
    Variant({}, "BertModel", BERT).save(tmp_path)
    config = load(tmp_path).config
    assert (config.pooling, config.normalized, config.output_dim) == (("mean",), False, 32)


def test_a_causal_model_embeds_where_the_folder_says_how(tmp_path: Path) -> None:
    from tests.models.pooled_variants import DECODER

    Variant({"tie_word_embeddings": False}, "Qwen3ForCausalLM", DECODER).save(tmp_path)
    assert not is_pooled(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    (tmp_path / "modules.json").write_text(
        '[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "p"}, '
        '{"type": "a.Normalize", "path": ""}]'
    )
    assert is_pooled(tmp_path)
    assert load(tmp_path).config.pooling == ("last",)


def test_modules_after_a_classifier_are_refused(tmp_path: Path) -> None:
    Variant({}, "BertForSequenceClassification", BERT).save(tmp_path)
    (tmp_path / "modules.json").write_text('[{"type": "a.Transformer", "path": ""}]')
    load(tmp_path)
    (tmp_path / "modules.json").write_text(
        '[{"type": "a.Transformer", "path": ""}, {"type": "a.LogitScore", "path": "1"}]'
    )
    with pytest.raises(UnsupportedModel, match="LogitScore"):
        load(tmp_path)


def test_keys_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    Variant({}, "BertModel", BERT).save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    stored["embeddings.LayerNorm.gamma"] = stored.pop("embeddings.LayerNorm.weight")
    save_file(stored, tmp_path / "model.safetensors")
    load(tmp_path)
    stored["adapter.weight"] = np.zeros((2, 2), np.float32)
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unused: bert\.adapter\.weight"):
        load(tmp_path)
