"""The command line parses and calls; what it is given arrives in the config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import jaxserve.convert
import jaxserve.inventory
import jaxserve.launch
from jaxserve import cli
from jaxserve.config import ModelSource, ServeConfig
from jaxserve.errors import CheckpointError
from jaxserve.version import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    configs: list[ServeConfig] = []
    monkeypatch.setattr(jaxserve.launch, "serve", configs.append)
    return configs


def test_without_arguments_it_serves_the_shipped_model_on_loopback(
    served: list[ServeConfig],
) -> None:
    cli.main(["serve"])
    assert served == [ServeConfig()]
    assert served[0].source.model is None
    assert (served[0].server.host, served[0].server.port) == ("127.0.0.1", 8080)


def test_flags_arrive(served: list[ServeConfig]) -> None:
    flags = "--port 0 --host ::1 --served-model-name a --served-model-name b --tensor-parallel 2"
    cli.main(["serve", "some/model", *flags.split(), "--no-prefix-cache", "--api-key", "k"])
    config = served[0]
    assert config.source.model == "some/model"
    assert config.source.served_model_name == ("a", "b")
    assert (config.server.host, config.server.port, config.server.api_key) == ("::1", 0, ("k",))
    assert config.mesh.tensor_parallel == 2
    assert not config.engine.prefix_cache


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    served: list[ServeConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[engine]\npage_size = 4\nnum_pages = 5\nmax_batch_size = 6\n")
    monkeypatch.setenv("JAXSERVE_NUM_PAGES", "50")
    monkeypatch.setenv("JAXSERVE_MAX_BATCH_SIZE", "60")
    cli.main(["serve", "--config", str(path), "--max-batch-size", "600"])
    engine = served[0].engine
    assert (engine.page_size, engine.num_pages, engine.max_batch_size) == (4, 50, 600)


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--port", "x"],
        ["serve", "--port", "70000"],
        ["serve", "--prt", "1"],
        ["models", "--suported"],
        ["models", "some/model"],
        ["convert", "owner/name"],
        ["convert", "owner/name", "out", "--dtype", "int3"],
        ["bench"],
        ["bench", "srve"],
        ["bench", "serve", "--input-len", "some"],
        ["srve"],
        [],
    ],
)
def test_a_bad_option_exits_with_2(
    served: list[ServeConfig], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == 2
    assert not served
    assert capsys.readouterr().err


def test_a_bad_model_exits_with_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: ServeConfig) -> None:
        raise CheckpointError("no such model; try another")

    monkeypatch.setattr(jaxserve.launch, "serve", refuse)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["serve", "nothing"])
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == "jaxserve: no such model; try another\n"


def test_models_lists_what_is_here_or_what_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(jaxserve.inventory, "print_local", lambda: printed.append("local"))
    monkeypatch.setattr(jaxserve.inventory, "print_supported", lambda: printed.append("table"))
    cli.main(["models"])
    cli.main(["models", "--supported"])
    assert printed == ["local", "table"]


def test_convert_gets_its_model_and_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(jaxserve.convert, "convert", lambda *arguments: given.extend(arguments))
    options = ["--revision", "v1", "--dtype", "bfloat16", "--quantize", "int8"]
    cli.main(["convert", "owner/name", "out", *options])
    source = ModelSource(model="owner/name", revision="v1", dtype="bfloat16", quantize="int8")
    assert given == [source, Path("out")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],
        ["models", "--help"],
        ["convert", "--help"],
        ["bench", "--help"],
        ["bench", "serve", "--help"],
        ["bench", "engine", "--help"],
        ["bench", "startup", "--help"],
        ["--version"],
    ],
)
def test_help_and_version_do_not_load_jax(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom jaxserve import cli\n"
        f"try: cli.main({arguments!r})\n"
        "finally: sys.exit(bool({'jax', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (__version__ if "--version" in arguments else "jaxserve") in done.stdout
