import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention import unpaged
from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.unpaged import UnpagedAttention
from tests.models.tolerance import assert_agrees

ROWS, LENGTH, KV_HEADS, GROUP, HEAD_DIM = 3, 16, 2, 3, 4
LENS = (16, 5, 1)


def oracle(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    sinks: np.ndarray | None,
    *,
    causal: bool,
    spec: AttentionSpec,
) -> np.ndarray:
    """One token, one head at a time; what is past a row's end stays zero."""
    out = np.zeros_like(q)
    for row, length in enumerate(LENS):
        for at in range(length):
            last = at + 1 if causal else length
            reach = length if spec.window is None else spec.window
            chunk = spec.chunk or LENGTH
            seen = [
                key for key in range(last) if abs(key - at) < reach and key // chunk == at // chunk
            ]
            for head in range(KV_HEADS * GROUP):
                keys = k[row, seen, head // GROUP]
                scores = spec.scale * keys @ q[row, at, head]
                if spec.softcap is not None:
                    scores = spec.softcap * np.tanh(scores / spec.softcap)
                weights = np.exp(scores - scores.max())
                sink = 0.0 if sinks is None else np.exp(sinks[head] - scores.max())
                total = weights.sum() + sink
                out[row, at, head] = weights @ v[row, seen, head // GROUP] / total
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("spec", "has_sinks"),
    [
        (AttentionSpec(scale=0.7), False),
        (AttentionSpec(scale=0.7), True),
        (AttentionSpec(scale=0.7, window=3), True),
        (AttentionSpec(scale=0.7, window=1), False),
        (AttentionSpec(scale=0.7, window=6, softcap=2.0), False),
        (AttentionSpec(scale=0.7, chunk=3), False),
    ],
)
@pytest.mark.parametrize("block", [4, 512])
def test_it_is_a_softmax_over_the_tokens_that_are_seen(
    causal: bool,
    spec: AttentionSpec,
    has_sinks: bool,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpaged, "QUERY_BLOCK_TOKENS", block)
    rng = np.random.default_rng(0)
    shapes = [(ROWS, LENGTH, heads, HEAD_DIM) for heads in (KV_HEADS * GROUP, KV_HEADS, KV_HEADS)]
    q, k, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    sinks = rng.normal(size=KV_HEADS * GROUP).astype(np.float32) if has_sinks else None
    metadata = AttentionMetadata(
        positions=jnp.tile(jnp.arange(LENGTH), ROWS),
        page_indices=jnp.zeros((ROWS, 1), jnp.int32),
        kv_lens=jnp.asarray(LENS, jnp.int32),
        cu_q_lens=jnp.arange(ROWS + 1) * LENGTH,
        num_seqs=jnp.asarray([ROWS]),
    )
    flat = [jnp.asarray(x.reshape(-1, *x.shape[2:])) for x in (q, k, v)]
    ours, _ = UnpagedAttention(causal=causal)(
        flat[0],
        flat[1],
        flat[2],
        jnp.zeros((0,)),
        metadata,
        spec=spec,
        one_token_per_row=False,
        sinks=None if sinks is None else jnp.asarray(sinks),
    )
    wanted = oracle(q, k, v, sinks, causal=causal, spec=spec)
    for row, length in enumerate(LENS):
        assert_agrees(np.asarray(ours).reshape(q.shape)[row, :length], wanted[row, :length])


def test_values_may_be_part_of_the_keys_and_another_layer_may_read_them() -> None:
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(4, heads, 6)), jnp.float32) for heads in (2, 1))
    metadata = AttentionMetadata(
        jnp.arange(4),
        jnp.zeros((1, 1), jnp.int32),
        jnp.asarray([4]),
        jnp.asarray([0, 4]),
        jnp.ones(1),
    )
    spec = AttentionSpec(scale=1.0, value_dim=3)
    attend = UnpagedAttention(causal=True)
    written, pages = attend(
        q, k, None, jnp.zeros((0,)), metadata, spec=spec, one_token_per_row=False
    )
    read, _ = attend(q, None, None, pages, metadata, spec=spec, one_token_per_row=False)
    assert written.shape == (4, 2, 3)
    assert_agrees(written[0], np.broadcast_to(k[0, :, :3], (2, 3)))
    np.testing.assert_array_equal(read, written)
