import json
from pathlib import Path
from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.pooled_config import DenseConfig
from jaxserve.models.sentence_modules import read_modules


def write(folder: Path, *modules: tuple[str, str, dict[str, Any] | None]) -> Path:
    entries = []
    for index, (kind, path, config) in enumerate(modules):
        entries.append(
            {"idx": index, "name": str(index), "path": path, "type": f"st.models.{kind}"}
        )
        if config is not None:
            (folder / path).mkdir(exist_ok=True)
            (folder / path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


TRANSFORMER = ("Transformer", "", None)
DENSE = {
    "in_features": 8,
    "out_features": 4,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"word_embedding_dimension": 8, "pooling_mode_cls_token": True}, ("cls",)),
        (
            {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
            ("mean",),
        ),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, ("last",)),
        (
            {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True},
            ("max", "mean"),
        ),
        ({"embedding_dimension": 8, "pooling_mode": "lasttoken"}, ("last",)),
        ({"pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({"pooling_mode": "weightedmean"}, ("weighted_mean",)),
        ({}, ("mean",)),
    ],
)
def test_old_and_new_files_say_how_to_pool(
    tmp_path: Path, config: dict[str, Any], expected: tuple[str, ...]
) -> None:
    read = read_modules(write(tmp_path, TRANSFORMER, ("Pooling", "1_Pooling", config)))
    assert read.pooling == expected
    assert not read.normalized


def test_dense_and_normalize_are_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        TRANSFORMER,
        ("Pooling", "1_Pooling", {}),
        ("Dense", "2_Dense", DENSE),
        ("Normalize", "3_Normalize", None),
    )
    read = read_modules(folder)
    assert read.projections == (
        DenseConfig(in_dim=8, out_dim=4, bias=False, activation="identity"),
    )
    assert read.dense_folders == (folder / "2_Dense",)
    assert read.normalized


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ([TRANSFORMER, ("SpladePooling", "1_Pooling", {})], "SpladePooling"),
        ([("Transformer", "0_Transformer", {})], "0_Transformer"),
        ([TRANSFORMER, ("Normalize", "", None), ("Pooling", "1_Pooling", {})], "order"),
        ([TRANSFORMER, ("Pooling", "p", {"include_prompt": False})], "include_prompt"),
        ([TRANSFORMER, ("Pooling", "p", {"pooling_mode": "median"})], "pooling_mode"),
        ([TRANSFORMER, ("Pooling", "p", {"heads": 2})], "heads"),
        (
            [TRANSFORMER, ("Pooling", "p", {}), ("Dense", "d", {**DENSE, "use_residual": True})],
            "use_residual",
        ),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    tmp_path: Path, modules: list[Any], named: str
) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        read_modules(write(tmp_path, *modules))


def test_a_module_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, TRANSFORMER)
    (folder / "modules.json").write_text(json.dumps([{"type": "st.Pooling", "path": "../p"}]))
    with pytest.raises(CheckpointError, match=r"outside.*\.\./p"):
        read_modules(folder)
