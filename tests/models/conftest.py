"""Saved checkpoints and the models that are the reference for them."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from tests.models.variant import classes_of
from tests.models.variants import VARIANTS


@pytest.fixture(autouse=True, scope="module")
def compile_quickly() -> Iterator[None]:
    """Numbers are compared here, hundreds of programs' worth, and no program runs for long."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a variant by name, written once."""

    @cache
    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        VARIANTS[name].save(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def reference_logits(saved: Callable[[str], Path]) -> Callable[[str, tuple[int, ...]], np.ndarray]:
    """f32[T, V] by transformers, for a variant and a sequence."""

    @cache
    def load(name: str) -> Any:
        config_class, model_class = classes_of(VARIANTS[name].architecture)
        config = config_class.from_pretrained(saved(name))
        return model_class.from_pretrained(saved(name), config=config, dtype=torch.float32)

    @cache
    def compute(name: str, tokens: tuple[int, ...]) -> np.ndarray:
        with torch.no_grad():
            logits: np.ndarray = load(name)(torch.tensor([tokens])).logits[0].numpy()
        return logits

    return compute
