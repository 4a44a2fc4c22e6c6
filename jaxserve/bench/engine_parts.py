"""What does the engine need of a model to be measured? All but a tokenizer, a loop and a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

import jax.numpy as jnp
from jax.sharding import Mesh

from jaxserve.bench.work import WorkCounter
from jaxserve.build_runner import choose_attention, load, make_runner, mesh_of, surroundings
from jaxserve.config import ServeConfig
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.sizes import EngineSizes, choose_sizes
from jaxserve.models.footprint import footprint
from jaxserve.models.hub import resolve
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.phases import Phases
from jaxserve.startup import kept_programs, say, use_compilation_cache, warm_up


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """A warm runner, and what plans and counts its steps."""

    runner: Runner
    sizes: EngineSizes
    limits: EngineLimits
    mesh: Mesh
    dtype: jnp.dtype
    counter: WorkCounter
    num_params: int

    def scheduler(self) -> Scheduler:
        """A new one: nobody has pages yet, and no prefix is found."""
        pool = PagePool(self.sizes.num_pages, self.sizes.page_size, prefix_cache=False)
        return Scheduler(
            pool,
            limits=self.limits,
            max_batch_size=self.sizes.max_batch_size,
            token_budget=self.sizes.token_budget,
        )


def build(config: ServeConfig, *, log: TextIO) -> EngineParts:
    """Load the model and compile its programs; raises ConfigError and CheckpointError."""
    use_compilation_cache(config.engine)
    folder = resolve(config.source.model, revision=config.source.revision)
    loaded = load(config, folder, mesh_of(config.mesh), log)
    attention = choose_attention(config.engine, loaded, log).backend
    sizes, reasons = choose_sizes(config.engine, surroundings(loaded, attention))
    for reason in reasons:
        say(log, f"  {reason}")
    model = loaded.model.config
    limits = EngineLimits(
        max_model_len=sizes.max_model_len,
        vocab_size=model.vocab_size,
        eos_token_ids=frozenset({0}),  # every request goes on past it
        max_logprobs=min(20, model.vocab_size),
        max_queued_requests=config.engine.max_queued_requests,
    )
    runner = make_runner(loaded, attention, sizes=sizes, limits=limits, room=None)
    warm_up(runner, kept_programs(config.engine, loaded.mesh), log, Phases())
    kept = bytes_per_token(model, loaded.kv_dtype)
    return EngineParts(
        runner=runner,
        sizes=sizes,
        limits=limits,
        mesh=loaded.mesh,
        dtype=loaded.dtype,
        counter=WorkCounter(loaded.model, kv_bytes_per_token=kept),
        num_params=footprint(model, loaded.dtype).num_params,
    )
