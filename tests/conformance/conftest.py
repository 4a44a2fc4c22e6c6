"""Where the servers are: scripts/conformance starts them and says so in the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TINY_CHAT = Path(__file__).parents[2] / "jaxserve" / "shipped" / "tiny-chat"


@pytest.fixture(scope="session")
def chat_url() -> str:
    """The address of a server of the shipped model, without a path."""
    return os.environ["JAXSERVE_CHAT_URL"]


@pytest.fixture(scope="session")
def embed_url() -> str:
    """The address of a server of all-MiniLM-L6-v2, called minilm."""
    return os.environ["JAXSERVE_EMBED_URL"]


@pytest.fixture(scope="session")
def short_url() -> str:
    """The address of a server of the shipped model with a context of 96 tokens."""
    return os.environ["JAXSERVE_SHORT_URL"]


@pytest.fixture(scope="session")
def tiny_chat() -> Path:
    """The folder of the shipped model."""
    return TINY_CHAT
