from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants, errors

import jaxserve.shipped
from jaxserve.errors import CheckpointError
from jaxserve.models.hub import local_models, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local hub cache, and no way to the hub."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def keep(cache: Path, model: str, *, ref: str = "main") -> Path:
    """Put a snapshot of `model` into the cache."""
    repository = cache / f"models--{model.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / ref).write_text(COMMIT)
    return snapshot


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), revision=None) == tmp_path


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/model", revision=None) == tmp_path / "model"


def test_without_a_name_it_is_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxserve.shipped, "__path__", [str(tmp_path)])
    with pytest.raises(CheckpointError, match="the shipped model is not installed"):
        resolve(None, revision=None)
    (tmp_path / "tiny-chat").mkdir()
    assert resolve(None, revision=None) == tmp_path / "tiny-chat"


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(CheckpointError, match="the model's name is empty"):
        resolve("", revision=None)


def test_a_gguf_file_is_taken_and_so_is_the_only_one_of_a_folder(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"")
    assert resolve(str(parts[0]), revision=None) == parts[0]
    assert resolve(str(tmp_path), revision=None) == parts[0]
    (tmp_path / "other.gguf").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"several models; .*: m-00001-of-00002.gguf, other"):
        resolve(str(tmp_path), revision=None)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert resolve(str(tmp_path), revision=None) == tmp_path


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file; give the folder that holds it"):
        resolve(str(tmp_path / "model.safetensors"), revision=None)


@pytest.mark.parametrize(
    "path", ["/gone", "./gone", "../gone", "~/gone", "gone/", "a/b/c", "a//b", "here/gone"]
)
def test_what_looks_like_a_path_is_never_sent_to_the_hub(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="there is no folder"):
        resolve(path, revision=None)


@pytest.mark.parametrize("model", ["owner/name", "gpt2"])
def test_a_cached_model_needs_no_hub(cache: Path, model: str) -> None:
    snapshot = keep(cache, model)
    assert resolve(model, revision=None) == snapshot


def test_a_revision_is_looked_up(cache: Path) -> None:
    snapshot = keep(cache, "owner/name", ref="v1")
    assert resolve("owner/name", revision="v1") == snapshot
    assert resolve("owner/name", revision=COMMIT) == snapshot
    with pytest.raises(CheckpointError, match="not complete in the local cache"):
        resolve("owner/name", revision="v2")


def test_offline_and_not_cached_says_so(cache: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        resolve("owner/name", revision=None)
    assert f"owner/name is not complete in the local cache {cache}" in str(refusal.value)
    assert "HF_HUB_OFFLINE" in str(refusal.value)


@pytest.mark.parametrize("model", ["two words", "owner/na me", "owner/-name"])
def test_what_is_no_hub_id_is_refused(cache: Path, model: str) -> None:
    with pytest.raises(CheckpointError, match="is neither a folder nor a hub id"):
        resolve(model, revision=None)


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (errors.GatedRepoError, "owner/name is gated: ask for access .* HF_TOKEN"),
        (errors.RepositoryNotFoundError, "the hub knows no model owner/name, or it is private"),
        (errors.RevisionNotFoundError, "owner/name has no revision v9"),
        (errors.HfHubHTTPError, "owner/name could not be downloaded .* check the network"),
    ],
)
def test_refusals_of_the_hub_name_the_way_out(
    error: type[errors.HfHubHTTPError], names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        request = httpx.Request("GET", "https://hub.test")
        raise error("refused", response=httpx.Response(404, request=request))  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=names):
        resolve("owner/name", revision="v9")


def test_only_what_is_read_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def download(model: str, **options: object) -> str:
        asked.update(options, model=model)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("owner/name", revision="v1") == tmp_path
    assert asked["model"] == "owner/name" and asked["revision"] == "v1"
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert "*.safetensors" in patterns and "*.bin" not in patterns


def test_snapshots_of_the_cache_are_listed(cache: Path) -> None:
    snapshot = keep(cache, "owner/name")
    (keep(cache, "other", ref="v1").parent.parent / "refs" / "v2").write_text(COMMIT)
    shipped, other, name = local_models()
    assert (shipped.name, shipped.revision) == ("tiny-chat", "shipped")
    assert (name.name, name.revision, name.disk_bytes) == ("owner/name", "main", 2)
    assert name.folder.resolve() == snapshot.resolve()
    assert (other.name, other.revision) == ("other", "v1")


def test_without_a_cache_there_is_the_shipped_model(cache: Path) -> None:
    cache.rmdir()
    assert [model.name for model in local_models()] == ["tiny-chat"]
