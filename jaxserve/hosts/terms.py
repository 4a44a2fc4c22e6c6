"""What must the hosts of a group have in common, and what does the first one decide for all?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from jaxserve.config import HostsConfig, ServeConfig
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.sizes import EngineSizes
from jaxserve.errors import ConfigError
from jaxserve.models.adapters import Room
from jaxserve.models.loading import LoadedModel
from jaxserve.version import __version__

DEFAULT_PORT = 8476

# Where the model lies may differ from host to host: what was read of it is compared later.
_OWN = {"model", "served_model_name", "lora", "compilation_cache", "generation_config"}
_OWN |= {"tool_format", "reasoning_format", "chat_template", "explain_cache"}


@dataclass(frozen=True, slots=True)
class Place:
    """This host's place among the hosts, and where the first one listens for the others.

    The coordination service of JAX listens one port above.
    """

    index: int
    num_hosts: int
    host: str
    port: int

    @property
    def address(self) -> str:
        return self._with_port(self.port)

    @property
    def jax_address(self) -> str:
        return self._with_port(self.port + 1)

    def _with_port(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def place_of(config: HostsConfig) -> Place | None:
    """None where there is one host only. Raises ConfigError for what does not go together."""
    if config.num_hosts == 1 or config == HostsConfig():
        return None
    for name in ("num_hosts", "coordinator", "host_index"):
        if getattr(config, name) is None:
            raise ConfigError(
                f"{name} is not given: several hosts need coordinator, num_hosts and host_index"
            )
    index, num_hosts = config.host_index or 0, config.num_hosts or 1
    if index >= num_hosts:
        raise ConfigError(
            f"host_index is {index} and num_hosts {num_hosts}; give 0 to {num_hosts - 1}"
        )
    return Place(index, num_hosts, *_address(config.coordinator or ""))


def _address(given: str) -> tuple[str, int]:
    host, separator, port = given.rpartition(":")
    is_bare_ipv6 = ":" in host and not host.endswith("]")
    if not separator or given.endswith("]") or is_bare_ipv6:
        host, port = given, str(DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65535:
        raise ConfigError(
            f"coordinator = {given!r}: {port!r} is no port; give HOST:PORT with a port from 1 to "
            "65534, because JAX listens on the one after it"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def settings_of(config: ServeConfig) -> dict[str, Any]:
    """What every host must have been started with, as plain values by name."""
    sections = (config.source, config.mesh, config.engine, config.speculation)
    given = {name: value for section in sections for name, value in asdict(section).items()}
    shared = {name: value for name, value in given.items() if name not in _OWN}
    shared |= {"jaxserve": __version__, "jax": jax.__version__}
    shared["num_hosts"] = config.hosts.num_hosts
    plain: dict[str, Any] = json.loads(json.dumps(shared, default=str))
    return plain


def mismatch(first: Mapping[str, Any], other: Mapping[str, Any], index: int) -> str | None:
    """How the settings of host `index` differ from those of the first, in words."""
    names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    if not names:
        return None
    said = " and ".join(
        f"{name} = {other.get(name)} where host 0 has {first.get(name)}" for name in names
    )
    return f"host {index} has {said}; start all hosts with the same version and options"


def digest_of(model: LoadedModel, attention: str) -> str:
    """Names what was loaded, the config and the paths, shapes and types of the weights, and what
    is to compute attention."""
    params = model.params_by_path().items()
    shapes = sorted((path, param.shape, str(param.dtype)) for path, param in params)
    return hashlib.sha256(repr((model.config, shapes, attention)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Terms:
    """What the runners of all hosts are built for."""

    sizes: EngineSizes
    vocab_size: int
    max_logprobs: int
    room: Room | None

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Terms:
        plain = json.loads(data)
        room = Room(**plain.pop("room")) if plain["room"] else plain.pop("room")
        return cls(sizes=EngineSizes(**plain.pop("sizes")), room=room, **plain)

    @property
    def limits(self) -> EngineLimits:
        """Limits for a runner that only follows: requests never come to it."""
        return EngineLimits(
            max_model_len=self.sizes.max_model_len,
            vocab_size=self.vocab_size,
            eos_token_ids=frozenset(),
            max_logprobs=self.max_logprobs,
            max_queued_requests=0,
        )
