"""Float32 logits are those of transformers, through pages, however the tokens are cut up."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import load_model
from jaxserve.sharding.mesh import make_mesh
from tests.models.dense_attention import DenseAttention
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees
from tests.models.variants import VARIANTS

Saved = Callable[[str], Path]
ReferenceLogits = Callable[[str, tuple[int, ...]], np.ndarray]
FLOAT32 = jnp.dtype("float32")

_DRAW = np.random.default_rng(1)
LONG, SHORT = (tuple(_DRAW.integers(0, 61, length).tolist()) for length in (19, 11))


@pytest.fixture(scope="module", params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def compiled(name: str, saved: Saved) -> PagedRun:
    mesh = make_mesh(tensor_parallel=1)
    limit = VARIANTS[name].max_model_len
    model = load_model(saved(name), dtype=FLOAT32, mesh=mesh, max_model_len=limit)
    return PagedRun(model, XlaAttention(), mesh, rows=2)


@pytest.fixture
def run(compiled: PagedRun) -> PagedRun:
    """Two rows that have not begun."""
    compiled.restart()
    return compiled


def test_whole_prompts_agree(name: str, run: PagedRun, reference_logits: ReferenceLogits) -> None:
    ours = run.step([LONG, SHORT])
    assert_agrees(ours[0], reference_logits(name, LONG))
    assert_agrees(ours[1], reference_logits(name, SHORT))


def test_every_decode_step_agrees(
    name: str, run: PagedRun, reference_logits: ReferenceLogits
) -> None:
    run.step([LONG[:9], SHORT[:1]])
    for step in range(10):
        ours = run.step([LONG[9 + step :][:1], SHORT[1 + step :][:1]])
        assert_agrees(ours[0], reference_logits(name, LONG)[9 + step :][:1])
        assert_agrees(ours[1], reference_logits(name, SHORT)[1 + step :][:1])


def test_chunks_agree_with_whole_prompts(
    name: str, run: PagedRun, reference_logits: ReferenceLogits
) -> None:
    cuts = [(0, 5), (5, 6), (6, 14), (14, 19)], [(0, 1), (1, 9), (9, 10), (10, 11)]
    for (a, b), (c, d) in zip(*cuts, strict=True):
        ours = run.step([LONG[a:b], SHORT[c:d]])
        assert_agrees(ours[0], reference_logits(name, LONG)[a:b])
        assert_agrees(ours[1], reference_logits(name, SHORT)[c:d])


@pytest.mark.parametrize(
    "variant", ["llama", "llama-multi-query", "gemma2", "deepseek-v3", "gemma4"]
)
def test_any_attention_backend_will_do(
    variant: str, saved: Saved, reference_logits: ReferenceLogits
) -> None:
    mesh = make_mesh(tensor_parallel=1)
    model = load_model(saved(variant), dtype=FLOAT32, mesh=mesh)
    backend: AttentionBackend = DenseAttention()
    run = PagedRun(model, backend, mesh, rows=1)
    assert_agrees(run.step([LONG[:18]])[0], reference_logits(variant, LONG)[:18])
    assert_agrees(run.step([LONG[18:]])[0], reference_logits(variant, LONG)[18:])


@pytest.mark.parametrize(
    ("variant", "tensor_parallel"),
    [
        ("llama", 2),
        ("llama", 4),
        ("llama-attention-bias", 4),
        ("llama-tied", 2),
        ("phi3", 4),  # fused tensors, and KV heads that do not divide
        ("olmo2", 2),  # a norm over all heads
        ("cohere-qk-norm", 2),  # a norm with a row a head
        ("gpt-neox", 2),  # rows fused by head
        ("lfm2", 4),  # a state of channels
        ("qwen3-next", 2),  # a state of heads, and rows fused by group
        ("gemma4", 2),  # tables of inputs per layer, and layers that read pages of others
        ("gemma4-keys-are-values", 2),  # KV heads that divide in some layers and not in others
        ("deepseek-v2", 4),  # latents that every device keeps, and heads made from them that it has
        ("mixtral", 2),  # experts, each split
    ],
)
def test_tensor_parallel_agrees(
    variant: str, tensor_parallel: int, saved: Saved, reference_logits: ReferenceLogits
) -> None:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    model = load_model(saved(variant), dtype=FLOAT32, mesh=mesh)
    run = PagedRun(model, XlaAttention(), mesh, rows=2)
    ours = run.step([LONG[:18], SHORT[:10]])
    assert_agrees(ours[0], reference_logits(variant, LONG)[:18])
    ours = run.step([LONG[18:], SHORT[10:]])
    assert_agrees(ours[0], reference_logits(variant, LONG)[18:])
    assert_agrees(ours[1], reference_logits(variant, SHORT)[10:])


@pytest.mark.parametrize(
    ("variant", "expert_parallel", "tensor_parallel"),
    [
        ("mixtral", 4, 1),
        ("gpt-oss", 2, 2),  # with biases, each added once
        ("llama4", 2, 1),  # experts that weigh what goes in
    ],
)
def test_expert_parallel_agrees(
    variant: str,
    expert_parallel: int,
    tensor_parallel: int,
    saved: Saved,
    reference_logits: ReferenceLogits,
) -> None:
    mesh = make_mesh(tensor_parallel=tensor_parallel, expert_parallel=expert_parallel)
    model = load_model(saved(variant), dtype=FLOAT32, mesh=mesh)
    run = PagedRun(model, XlaAttention(), mesh, rows=2)
    ours = run.step([LONG[:18], SHORT[:10]])
    assert_agrees(ours[0], reference_logits(variant, LONG)[:18])
    assert_agrees(ours[1], reference_logits(variant, SHORT)[:10])
    assert_agrees(run.step([LONG[18:], SHORT[10:]])[0], reference_logits(variant, LONG)[18:])
