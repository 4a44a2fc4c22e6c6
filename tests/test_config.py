"""Files, variables and flags all end in one config, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from jaxserve.config import ENV_PREFIX, ServeConfig, check_config, load_config
from jaxserve.errors import ConfigError

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


def leaves() -> list[str]:
    sections = (field.default_factory for field in dataclasses.fields(ServeConfig))
    return [leaf.name for section in sections for leaf in dataclasses.fields(section)]  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_file_in_configs_parses(path: Path) -> None:
    load_config(path, {})


def test_the_commented_example_names_every_key() -> None:
    text = (ROOT / "configs" / "tiny-chat.toml").read_text()
    assert [leaf for leaf in leaves() if not re.search(rf"^(# )?{leaf} = ", text, re.M)] == []


@pytest.mark.parametrize("leaf", leaves())
def test_every_key_has_a_reader(leaf: str) -> None:
    sources = [p for folder in ("jaxserve", "models") for p in (ROOT / folder).rglob("*.py")]
    readers = [p for p in sources if re.search(rf"\.{leaf}\b", p.read_text())]
    assert readers, f"{leaf} is parsed and ignored"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[server]\nport = 1000\nhost = "0.0.0.0"\n')
    config = load_config(path, {"JAXSERVE_PORT": "2000", "JAXSERVE_API_KEY": "a,b", "HOME": "/"})
    assert config.server.port == 2000
    assert config.server.host == "0.0.0.0"
    assert config.server.api_key == ("a", "b")


def test_vertex_says_port_and_paths_unless_we_are_told_otherwise() -> None:
    vertex = {"AIP_HTTP_PORT": "8081", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"}
    server = load_config(None, vertex).server
    assert (server.port, server.health_route, server.predict_route) == (8081, "/h", "/p")
    assert load_config(None, {**vertex, "JAXSERVE_PORT": "9"}).server.port == 9


def test_a_list_in_the_environment_is_split_at_commas() -> None:
    config = load_config(None, {"JAXSERVE_METRICS_FAMILY": "tgi,vllm"})
    assert config.server.metrics_family == ("tgi", "vllm")


def test_an_unset_field_has_its_default() -> None:
    assert load_config(None, {}) == ServeConfig()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[serve]\n", "did you mean server?"),
        ("[server]\nprt = 1\n", "did you mean port?"),
        ("[server]\nport = 'x'\n", "server.port = 'x'"),
        ("[server]\nport = 70000\n", "server.port = 70000"),
        ("[server]\nhealth_route = 'x'\n", "server.health_route = 'x'"),
        ("[engine]\npage_size = 0\n", "engine.page_size = 0"),
        ("[server]\nmetrics_family = ['x']\n", "server.metrics_family.0 = 'x'"),
        ("[mesh]\ntensor_parallel = -1\n", "mesh.tensor_parallel = -1"),
        ("[source]\ndtype = 'int3'\n", "source.dtype = 'int3'"),
        ("server = 3\n", "must be a table"),
        ("[server\n", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_config(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml", {})


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean port"):
        load_config(None, {ENV_PREFIX + "PRT": "1"})


def test_a_config_made_by_flags_is_checked_too() -> None:
    config = ServeConfig()
    bad: Any = dataclasses.replace(config.server, port=-1)
    with pytest.raises(ConfigError, match=re.escape("server.port = -1")):
        check_config(dataclasses.replace(config, server=bad))
    assert check_config(config) == config
