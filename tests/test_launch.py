"""Where does a server listen, and what does it warn of?"""

from __future__ import annotations

import socket

import pytest

from jaxserve import launch
from jaxserve.config import ServerConfig
from jaxserve.errors import ConfigError


def test_a_port_in_use_is_said_before_anything_slow_happens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: .*give another --host or --port"):
            launch._listen(ServerConfig(port=port))


def test_port_zero_takes_a_free_one() -> None:
    with launch._listen(ServerConfig(port=0)) as listening:
        assert launch._url(ServerConfig(port=0), listening).startswith("http://127.0.0.1:")
        assert listening.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_listening_wider_without_a_key_is_warned_of(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch._warn_if_open(ServerConfig(host=host))
    assert f"listening on {host} without an API key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "config",
    [
        ServerConfig(),
        ServerConfig(host="localhost"),
        ServerConfig(host="::1"),
        ServerConfig(host="127.0.0.5"),
        ServerConfig(host="0.0.0.0", api_key=("k",)),
    ],
)
def test_loopback_and_keys_are_not_warned_of(
    config: ServerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    launch._warn_if_open(config)
    assert capsys.readouterr().err == ""
