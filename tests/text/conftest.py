"""Tokenizer folders are made once: training them is most of what these tests would cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer
from tests.text.model_folders import FOLDERS

settings.register_profile("no clock", deadline=None)  # machines that run tests may be busy
settings.load_profile("no clock")


@pytest.fixture(scope="session", params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder of each kind in turn."""
    return FOLDERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> FolderTokenizer:
    return load_tokenizer(folder)
