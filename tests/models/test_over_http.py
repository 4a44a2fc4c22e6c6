"""A tiny model of every decoder family answers over HTTP what transformers would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServeConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.sizes import EngineSizes
from jaxserve.generate import TextGenerator
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.families.registry import FAMILIES
from jaxserve.models.loading import load_model
from jaxserve.models.making import Option
from jaxserve.server.app import create_app
from jaxserve.sharding.mesh import make_mesh
from tests.models.variants import VARIANTS
from tests.server.apps import HERMES_ONLY, MODEL, TEXT
from tests.text_fakes import ByteTokenizer

FIRST_OF = {variant.architecture: name for name, variant in reversed(VARIANTS.items())}
# Enough for every test run: one family of each kind. The others are marked slow.
OF_EACH_KIND = (
    "LlamaForCausalLM",
    "GptOssForCausalLM",
    "DeepseekV3ForCausalLM",
    "Gemma4ForCausalLM",
    "Lfm2ForCausalLM",
    "Qwen3NextForCausalLM",
)
NAMES = [
    pytest.param(name, marks=() if architecture in OF_EACH_KIND else pytest.mark.slow)
    for architecture, name in FIRST_OF.items()
]
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5]
NUM_TOKENS = 3
SIZES = EngineSizes(page_size=8, num_pages=4, max_batch_size=1, token_budget=8, max_model_len=24)
FLOAT32 = jnp.dtype("float32")


def serving(
    folder: Path, max_model_len: int | None, quantize: Option | None = None
) -> tuple[EngineLoop, Runner]:
    """An engine as small as can be: it takes the prompt in two chunks and then decodes."""
    mesh = make_mesh(tensor_parallel=1)
    model = load_model(
        folder, dtype=FLOAT32, mesh=mesh, max_model_len=max_model_len, quantize=quantize
    )
    limits = EngineLimits(
        max_model_len=SIZES.max_model_len,
        vocab_size=model.config.vocab_size,
        eos_token_ids=frozenset(),
        max_logprobs=2,
        max_queued_requests=8,
    )
    runner = Runner(
        model, attention=XlaAttention(), mesh=mesh, sizes=SIZES, limits=limits, dtype=FLOAT32
    )
    runner.warm_up()
    pool = PagePool(SIZES.num_pages, SIZES.page_size, prefix_cache=False)
    scheduler = Scheduler(pool, limits=limits, max_batch_size=1, token_budget=SIZES.token_budget)
    return EngineLoop(scheduler, runner), runner


def test_every_family_has_a_model_here() -> None:
    assert set(FAMILIES) - set(FIRST_OF) == set()
    assert set(OF_EACH_KIND) < set(FIRST_OF)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_model_answers(
    name: str,
    saved: Callable[[str], Path],
    reference_logits: Callable[[str, tuple[int, ...]], np.ndarray],
) -> None:
    loop, runner = serving(saved(name), VARIANTS[name].max_model_len)
    choice = answer(loop, runner)
    whole = (*PROMPT, *choice["token_ids"])
    logits = reference_logits(name, whole)[len(PROMPT) - 1 : -1]
    assert choice["token_ids"] == logits.argmax(-1).tolist()
    logprobs = logits.max(-1) - np.log(np.exp(logits.astype(np.float64)).sum(-1))
    np.testing.assert_allclose(choice["logprobs"]["token_logprobs"], logprobs, atol=1e-3)


@pytest.mark.parametrize("quantize", ["int8", "int4", "fp8"])
def test_a_quantised_model_answers_much_the_same(
    quantize: Option,
    saved: Callable[[str], Path],
    reference_logits: Callable[[str, tuple[int, ...]], np.ndarray],
) -> None:
    name = FIRST_OF["LlamaForCausalLM"]
    choice = answer(*serving(saved(name), None, quantize))
    logits = reference_logits(name, (*PROMPT, *choice["token_ids"]))[len(PROMPT) - 1 : -1]
    logprobs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    chosen = logprobs[np.arange(NUM_TOKENS), choice["token_ids"]]
    np.testing.assert_allclose(choice["logprobs"]["token_logprobs"], chosen, atol=1.0)


def answer(loop: EngineLoop, runner: Runner) -> Any:
    """The greedy choice for the prompt, over HTTP; the engine is stopped after."""
    app = create_app(
        TextGenerator(loop, ByteTokenizer()),
        model=MODEL,
        config=ServeConfig(),
        engine=loop,
        generation_config={},
        formats=HERMES_ONLY,
    )
    body = {
        "prompt": PROMPT,
        "max_tokens": NUM_TOKENS,
        "temperature": 0,
        "return_token_ids": True,
        "logprobs": 1,
    }
    with TestClient(app) as client:
        (choice,) = client.post(TEXT, json=body).json()["choices"]
    assert loop.stop(30.0)
    runner.close()
    assert runner.num_compiled_after_ready == 0
    return choice
