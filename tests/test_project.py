"""The promises the repository makes about itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jaxserve

ROOT = Path(__file__).parent.parent


def test_the_links_to_models_and_sharding_resolve() -> None:
    for name in ("models", "sharding"):
        link = ROOT / "jaxserve" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == jaxserve.__version__


@pytest.mark.parametrize("file", ["constraints.txt", "tests/conformance/requirements.txt"])
def test_no_constraint_holds_an_index_address(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.M)


def test_the_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_files_that_the_documents_name_exist() -> None:
    text = (ROOT / "docs" / "request.md").read_text()
    for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text):
        assert (ROOT / "jaxserve" / name).exists(), f"docs/request.md names {name}"


def test_the_shipped_model_is_small_enough_to_ship() -> None:
    files = list((ROOT / "jaxserve" / "shipped" / "tiny-chat").iterdir())
    assert 1_000_000 < sum(file.stat().st_size for file in files) < 20_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tracked files, so that nothing is built into the checkout."""
    copy = tmp_path_factory.mktemp("source") / "jaxserve"
    tracked = ("jaxserve", "models", "sharding", "pyproject.toml", "README.md", "LICENSE")
    for name in tracked:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


def test_the_wheel_holds_jaxserve_and_nothing_beside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "jaxserve",
        f"jaxserve-{jaxserve.__version__}.dist-info",
    }
    for path in ROOT.glob("models/**/*.py"):
        assert f"jaxserve/{path.relative_to(ROOT)}" in names
    for file in ("model.safetensors", "tokenizer.model", "config.json"):
        assert f"jaxserve/shipped/tiny-chat/{file}" in names
    assert wheel.stat().st_size < 30_000_000
