"""Compiles whole decoder steps for a TPU topology without a TPU, and prints what came of them.

Usage: python -m tests.models.attention.compile_for_tpu TOPOLOGY TENSOR_PARALLEL. A line for each
step: its name, the kernels in it, the numbers in its largest all-gather, and the bytes of
temporaries on a device. A process of its own, because libtpu is looked for when jax starts.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.attention.tpu import TpuAttention
from jaxserve.models.attention_demands import demands_of
from jaxserve.models.cache import Cache, cache_shardings, init_cache
from jaxserve.models.config import DecoderConfig, LayerConfig, NormConfig, RopeConfig
from jaxserve.models.converted import layout
from jaxserve.models.decoder import Decoder
from jaxserve.sharding.mesh import make_mesh

BFLOAT16 = jnp.dtype("bfloat16")
NUM_ROWS, NUM_PAGES, PAGE_SIZE, PAGES_PER_SEQ = 16, 256, 128, 32
CONFIG = DecoderConfig(
    vocab_size=32_000,
    embed_dim=2048,
    mlp_dim=8192,
    num_q_heads=32,
    num_kv_heads=8,
    head_dim=64,
    layers=(
        LayerConfig(rope=RopeConfig(theta=5e5)),
        LayerConfig(rope=RopeConfig(theta=5e5), window=1024),
    ),
    norm=NormConfig(eps=1e-5),
    activation="silu",
    tied_embeddings=True,
    max_model_len=4096,
)


def compiled_step(mesh: Mesh, *, num_tokens: int, decode: bool) -> jax.stages.Compiled:
    attention = TpuAttention(mesh)
    refusal = attention.refusal(
        demands_of(
            CONFIG,
            dtype=BFLOAT16,
            kv_dtype=BFLOAT16,
            page_size=PAGE_SIZE,
            device=mesh.devices.flat[0],
        )
    )
    assert refusal is None, refusal
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Decoder(CONFIG, dtype=BFLOAT16)))
    treedef = jax.tree.structure(state)
    wanted = layout(state, mesh)
    sizes: dict[str, Any] = {
        "num_pages": NUM_PAGES,
        "page_size": PAGE_SIZE,
        "num_slots": NUM_ROWS,
        "dtype": BFLOAT16,
    }
    empty = jax.eval_shape(lambda: init_cache(CONFIG, attention, **sizes))
    placed = cache_shardings(CONFIG, attention, empty, mesh)

    def step(
        params: list[jax.Array], cache: Cache, tokens: jax.Array, metadata: AttentionMetadata
    ) -> tuple[jax.Array, Cache]:
        decoder = nnx.merge(graphdef, jax.tree.unflatten(treedef, params))
        hidden, cache = decoder(
            tokens, cache, metadata, attention=attention, one_token_per_row=decode
        )
        last = (metadata.cu_q_lens[1:] - 1).clip(0)
        return jnp.argmax(decoder.logits(hidden[last]), axis=-1), cache

    def integers(*shape: int) -> Any:
        replicated = NamedSharding(mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=replicated)

    shapes = ((num_tokens,), (NUM_ROWS, PAGES_PER_SEQ), (NUM_ROWS,), (NUM_ROWS + 1,), (1,))
    metadata = AttentionMetadata(*(integers(*shape) for shape in shapes))
    cache = jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        empty,
        placed,
    )
    params = [
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for leaf in wanted.values()
    ]
    jitted = jax.jit(step, donate_argnums=1, out_shardings=(None, placed))
    return jitted.lower(params, cache, integers(num_tokens), metadata).compile()


def main(topology: str, tensor_parallel: int) -> None:
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh(tensor_parallel=tensor_parallel, devices=devices)
    for name, num_tokens in (("decode", NUM_ROWS), ("mixed", 256)):
        compiled = compiled_step(mesh, num_tokens=num_tokens, decode=name == "decode")
        text = compiled.as_text() or ""
        kernels = len(re.findall(r'custom_call_target="tpu_custom_call"', text))
        gathered = re.findall(r"\w+\[([\d,]+)\]\S* all-gather(?:-start)?\(", text)
        most = max((math.prod(map(int, shape.split(","))) for shape in gathered), default=0)
        analysis: Any = compiled.memory_analysis()
        print("step", name, kernels, most, analysis.temp_size_in_bytes)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
