from __future__ import annotations

from dataclasses import replace

import pytest

from jaxserve.config import EngineConfig, HostsConfig, MeshConfig, ModelSource, ServeConfig
from jaxserve.engine.sizes import EngineSizes
from jaxserve.errors import ConfigError
from jaxserve.hosts.terms import Terms, mismatch, place_of, settings_of
from jaxserve.models.adapters import Room

TWO = HostsConfig(coordinator="10.0.0.1:9000", num_hosts=2, host_index=1)
SIZES = EngineSizes(page_size=16, num_pages=8, max_batch_size=2, token_budget=64, max_model_len=32)


def test_one_host_needs_no_place() -> None:
    assert place_of(HostsConfig()) is None
    assert place_of(replace(TWO, num_hosts=1)) is None


@pytest.mark.parametrize(
    ("coordinator", "address", "jax_address"),
    [
        ("10.0.0.1:9000", "10.0.0.1:9000", "10.0.0.1:9001"),
        ("leader.svc", "leader.svc:8476", "leader.svc:8477"),
        ("[::1]:9000", "[::1]:9000", "[::1]:9001"),
        ("::1", "[::1]:8476", "[::1]:8477"),
        ("[::1]", "[::1]:8476", "[::1]:8477"),
    ],
)
def test_jax_has_the_port_after_ours(coordinator: str, address: str, jax_address: str) -> None:
    place = place_of(replace(TWO, coordinator=coordinator))
    assert place is not None
    assert (place.address, place.jax_address) == (address, jax_address)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (HostsConfig(num_hosts=2, host_index=0), "coordinator is not given"),
        (HostsConfig(num_hosts=2, coordinator="a"), "host_index is not given"),
        (HostsConfig(coordinator="a", host_index=0), "num_hosts is not given"),
        (replace(TWO, host_index=2), "host_index is 2 and num_hosts 2; give 0 to 1"),
        (replace(TWO, coordinator="a:b"), "'b' is no port"),
        (replace(TWO, coordinator="a:65535"), "JAX listens on the one after it"),
    ],
)
def test_what_is_missing_or_wrong_is_named(given: HostsConfig, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        place_of(given)


def test_another_version_or_option_is_named_with_both_values() -> None:
    first = settings_of(ServeConfig(mesh=MeshConfig(tensor_parallel=4)))
    other = {**settings_of(ServeConfig(mesh=MeshConfig(tensor_parallel=2))), "jaxserve": "0.0.1"}
    said = mismatch(first, other, 3)
    assert said is not None
    assert "host 3 has tensor_parallel = 2 where host 0 has 4" in said
    assert "jaxserve = 0.0.1 where host 0 has " in said


def test_where_files_lie_may_differ() -> None:
    here = ServeConfig(source=ModelSource(model="/a"), engine=EngineConfig(compilation_cache=None))
    there = ServeConfig(source=ModelSource(model="/b", served_model_name=("x",)))
    assert mismatch(settings_of(here), settings_of(there), 1) is None


@pytest.mark.parametrize("room", [None, Room(2, 16)])
def test_terms_come_out_of_their_json(room: Room | None) -> None:
    terms = Terms(SIZES, vocab_size=60, max_logprobs=5, room=room)
    assert Terms.from_json(terms.as_json()) == terms
    assert (terms.limits.vocab_size, terms.limits.max_model_len) == (60, 32)
