"""What other servers call our flags ends in the same config."""

from __future__ import annotations

import pytest

from jaxserve.errors import ConfigError
from jaxserve.spellings import respelled

OBJECT = '{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 3}'
AS_OURS = "--speculative ngram --num-speculative-tokens 5 --prompt-lookup-max 3".split()


def test_what_is_ours_stays() -> None:
    ours = ["model", "--port", "80", "--speculative", "ngram", "--api-key=a=b"]
    assert respelled(ours) == ours


def test_tgi_says_how_many_tokens() -> None:
    expected = "m --speculative ngram --num-speculative-tokens 3 --port 80".split()
    assert respelled("m --speculate 3 --port 80".split()) == expected
    assert respelled(["--speculate=0"]) == []


@pytest.mark.parametrize(
    "arguments", [["--speculative-config", OBJECT], [f"--speculative_config={OBJECT}"]]
)
def test_vllm_gives_an_object(arguments: list[str]) -> None:
    assert respelled(arguments) == AS_OURS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--speculate", "x"], "number of tokens"),
        (["--speculate"], "number of tokens"),
        (["--speculative-config", "{"], "not JSON"),
        (["--speculative-config", "[]"], "JSON object"),
        (["--speculative-config", '{"method": "eagle"}'], "'eagle' is not offered"),
        (["--speculative-config", '{"model": "x/y"}'], "None is not offered"),
        (["--speculative-config", '{"method": "ngram", "quantization": 1}'], "quantization can't"),
    ],
)
def test_what_cannot_be_had_is_named(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        respelled(arguments)
