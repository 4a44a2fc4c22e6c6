"""The offline interface answers as the server does."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from jaxserve import LLM, SamplingParams
from jaxserve.errors import ConfigError, EngineFailed, InvalidRequest

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    cache = tmp_path_factory.mktemp("compiled")
    sizes: dict[str, Any] = {"max_batch_size": 2, "token_budget": 32, "max_model_len": 128}
    made = LLM(log=io.StringIO(), compilation_cache=cache, max_queued_requests=2, **sizes)
    with made as llm:
        yield llm
    with pytest.raises(EngineFailed, match="closed"):
        llm.generate("x")


def test_a_chat_is_answered(llm: LLM) -> None:
    assert "Paris" in llm.chat(QUESTION, GREEDY)[0].text


def test_a_stream_gives_the_same_text_in_pieces(llm: LLM) -> None:
    pieces = list(llm.stream(QUESTION, GREEDY))
    assert len(pieces) > 1
    assert "".join(pieces) == llm.chat(QUESTION, GREEDY)[0].text


def test_more_prompts_than_may_wait_keep_their_order(llm: LLM) -> None:
    words = ["red", "blue", "green", "one", "two", "three"]
    together = llm.generate(words, SamplingParams(temperature=0, max_tokens=2))
    alone = [llm.generate(word, SamplingParams(temperature=0, max_tokens=2))[0] for word in words]
    assert [output.prompt_ids for output in together] == [output.prompt_ids for output in alone]
    assert all(len(output.samples[0].token_ids) <= 2 for output in together)


def test_every_sample_is_told(llm: LLM) -> None:
    params = SamplingParams(n=2, max_tokens=3, seed=1, ignore_eos=True)
    samples = llm.generate([(5, 6, 7)], params)[0].samples
    assert [len(sample.token_ids) for sample in samples] == [3, 3]


def test_what_is_speculated_is_what_is_said_without(
    llm: LLM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = ["one two three one two three one", "a, b, a, b, a,", "The capital of France is"]
    asked = [
        SamplingParams(temperature=0, max_tokens=60, ignore_eos=True),
        SamplingParams(temperature=0.5, seed=3, max_tokens=60, stop=["b", "three"], logprobs=2),
        SamplingParams(temperature=0, max_tokens=40, repetition_penalty=1.1, n=2),
    ]
    sizes: dict[str, Any] = {"max_batch_size": 2, "token_budget": 32, "max_model_len": 128}
    cache = tmp_path_factory.mktemp("speculating")
    with LLM(
        log=io.StringIO(),
        compilation_cache=cache,
        max_queued_requests=2,
        **sizes,
        speculative="ngram",
        prompt_lookup_min=1,
    ) as speculating:
        for params in asked:
            plain, drafted = llm.generate(words, params), speculating.generate(words, params)
            for one, other in zip(plain, drafted, strict=True):
                for said, again in zip(one.samples, other.samples, strict=True):
                    assert (said.text, said.token_ids) == (again.text, again.token_ids)
                    assert said.finish_reason == again.finish_reason
                    assert [entry.token_id for entry in said.logprobs] == [
                        entry.token_id for entry in again.logprobs
                    ]
        assert speculating._built.loop.stats().totals.draft_tokens > 0


def test_a_stream_that_is_left_ends_its_request(llm: LLM) -> None:
    stream = llm.stream("a", SamplingParams(max_tokens=100, ignore_eos=True))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert llm.chat(QUESTION, GREEDY)[0].text


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=-1),
        SamplingParams(max_tokens=0),
        SamplingParams(n=0),
        SamplingParams(logprobs=-1),
    ],
)
def test_params_out_of_range_are_refused(llm: LLM, params: SamplingParams) -> None:
    with pytest.raises(InvalidRequest):
        llm.generate("a", params)


@pytest.mark.parametrize(("name", "says"), [("tensor_paralel", "tensor_parallel"), ("port", "")])
def test_what_is_no_setting_is_refused(name: str, says: str) -> None:
    settings: dict[str, Any] = {name: 2}
    with pytest.raises(ConfigError, match=f"takes no {name}; .*{says}"):
        LLM(**settings)


def test_the_package_alone_loads_no_jax() -> None:
    code = "import sys, jaxserve; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
