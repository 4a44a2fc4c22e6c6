"""Each kind of server is told in its way to go on past the end of a sequence."""

from __future__ import annotations

import json

import pytest

from jaxserve.bench.flavors import FLAVORS, flavor_named
from jaxserve.errors import ConfigError


@pytest.mark.parametrize("name", ["jaxserve", "vllm", "llama.cpp"])
def test_most_take_ignore_eos(name: str) -> None:
    fields = FLAVORS[name].fields(5, ignore_eos=True)  # type: ignore[index]
    assert fields["ignore_eos"] is True
    assert fields["max_tokens"] == 5
    assert fields["stream_options"] == {"include_usage": True}


def test_vllm_is_told_the_least_too() -> None:
    assert FLAVORS["vllm"].fields(5, ignore_eos=True)["min_tokens"] == 5


def test_transformers_serve_takes_it_in_a_generation_config_and_no_stream_options() -> None:
    fields = FLAVORS["transformers"].fields(5, ignore_eos=True)
    config = json.loads(fields["generation_config"])
    assert config == {"max_new_tokens": 5, "eos_token_id": -1}
    assert "stream_options" not in fields


def test_without_ignore_eos_no_flavor_is_told_of_it() -> None:
    for flavor in FLAVORS.values():
        assert set(flavor.fields(5, ignore_eos=False)) <= {"max_tokens", "stream_options"}


def test_the_plain_api_cannot_go_past_the_end_and_says_so() -> None:
    with pytest.raises(ConfigError, match="--no-ignore-eos"):
        flavor_named("openai", ignore_eos=True)
    assert flavor_named("openai", ignore_eos=False) is FLAVORS["openai"]
