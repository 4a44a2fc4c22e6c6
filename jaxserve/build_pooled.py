"""How do the parts become a server that embeds, scores or classifies?

The composition root of models without a decode loop; `build.py` is that of those that generate.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import jax
from jax.sharding import Mesh
from starlette.applications import Starlette

from jaxserve.build import BuiltEngine, build_app, build_engine
from jaxserve.config import ModelSource, ServeConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.pooling.buckets import Buckets
from jaxserve.engine.pooling.runner import PoolingRunner
from jaxserve.engine.pooling.scheduler import PoolingScheduler
from jaxserve.engine.pooling.sizes import PoolingSizes, choose_pooling_sizes
from jaxserve.engine.request import EngineLimits
from jaxserve.errors import ConfigError
from jaxserve.hosts.leader import Group
from jaxserve.identity import model_info
from jaxserve.models.checkpoint import read_json
from jaxserve.models.encoders.registry import labels_of
from jaxserve.models.hub import resolve
from jaxserve.models.pooled_config import PooledConfig
from jaxserve.models.pooled_loading import LoadedPooledModel, is_pooled, load_pooled_model
from jaxserve.phases import DEVICES, POOL, WEIGHTS, Phases
from jaxserve.pooling import PooledTask, TextPooler
from jaxserve.profiling import profiler
from jaxserve.server.app import create_app
from jaxserve.sharding.mesh import make_mesh
from jaxserve.startup import describe, dtype_of, kept_programs, say, use_compilation_cache, warm_up
from jaxserve.text.formats.table import Formats
from jaxserve.text.sentence_folder import SentenceFacts, read_sentence_facts
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer
from jaxserve.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPooler:
    """An engine that is warm and not started, with what the text side needs."""

    loop: EngineLoop
    runner: PoolingRunner
    tokenizer: FolderTokenizer
    folder: Path
    sizes: PoolingSizes
    model: PooledConfig
    facts: SentenceFacts
    labels: tuple[str, ...]
    num_params: int

    @property
    def task(self) -> Literal["embed", "classify"]:
        return "embed" if self.model.head is None else "classify"

    @property
    def max_model_len(self) -> int:
        return self.sizes.max_model_len

    @property
    def compiled_for(self) -> object:
        return self.model, self.sizes, self.facts


def build(
    config: ServeConfig, phases: Phases, group: Group | None = None
) -> tuple[BuiltEngine | BuiltPooler, Starlette]:
    """The engine and the app for a model of either kind; raises as the builders do."""
    folder = resolve(config.source.model, revision=config.source.revision)
    if is_pooled(folder):
        if group is not None:
            raise ConfigError(
                "models that embed or classify are served by one host; leave num_hosts out, and "
                "start a server on each host for more of them"
            )
        pooler = build_pooler(config, phases=phases)
        return pooler, build_pooled_app(config, pooler)
    engine = build_engine(config, group=group, phases=phases)
    return engine, build_app(config, engine)


def build_pooled_app(config: ServeConfig, built: BuiltPooler) -> Starlette:
    """The HTTP app over a built pooler; serving it starts the engine's thread."""
    task = PooledTask(
        task=built.task,
        num_outputs=built.model.output_dim,
        normalized=built.model.normalized,
        facts=built.facts,
        labels=built.labels,
    )
    return create_app(
        TextPooler(built.loop, built.tokenizer, task),
        model=model_info(config.source, built),
        config=config,
        engine=built.loop,
        generation_config={},
        formats=Formats(),
        profiler=profiler(config.server),
    )


def build_pooler(
    config: ServeConfig, *, log: TextIO = sys.stderr, phases: Phases | None = None
) -> BuiltPooler:
    """Load a model that embeds or classifies, choose the sizes, compile every program.

    Raises ConfigError and CheckpointError. Prints what it does and decides to `log`.
    """
    phases = phases or Phases()
    _refuse_meaningless(config.source)
    if config.speculation.speculative is not None:
        raise ConfigError(
            f"speculative is {config.speculation.speculative}, and this model draws no tokens; "
            "leave it out"
        )
    use_compilation_cache(config.engine)
    folder = resolve(config.source.model, revision=config.source.revision)
    facts = read_sentence_facts(folder)
    mesh = make_mesh(
        tensor_parallel=config.mesh.tensor_parallel, expert_parallel=config.mesh.expert_parallel
    )
    phases.end(DEVICES)
    model, tokenizer = _load(config, folder, mesh, log)
    phases.end(WEIGHTS)
    sizes, reasons = choose_pooling_sizes(
        config.engine,
        platform=mesh.devices.flat[0].platform,
        context=model.config.backbone.max_model_len,
        advised=facts.max_tokens,
    )
    for reason in (*reasons, _describe_answers(model.config)):
        say(log, f"  {reason}")
    buckets = Buckets.build(
        max_rows=sizes.max_batch_size,
        max_model_len=sizes.max_model_len,
        token_budget=sizes.token_budget,
    )
    runner = PoolingRunner(model, mesh=mesh, buckets=buckets)
    phases.end(POOL)
    warm_up(runner, kept_programs(config.engine, mesh), log, phases)
    return BuiltPooler(
        loop=EngineLoop(_scheduler(config, buckets, sizes, model, tokenizer), runner),
        runner=runner,
        tokenizer=tokenizer,
        folder=folder,
        sizes=sizes,
        model=model.config,
        facts=facts,
        labels=labels_of(read_json(folder / "config.json")) if model.config.head else (),
        num_params=sum(array.size for array in model.params),
    )


def _refuse_meaningless(source: ModelSource) -> None:
    if source.quantize is not None:
        raise ConfigError(
            f"quantize is {source.quantize}, and models that embed or classify are served in "
            "float32 or bfloat16 only; leave it out"
        )
    if source.load_format != "auto":
        raise ConfigError(
            f"load_format is {source.load_format}, and random weights are made of models that "
            "generate only; leave it out"
        )
    for name in ("tool_format", "reasoning_format", "chat_template"):
        if getattr(source, name) not in ("auto", None):
            raise ConfigError(
                f"{name} is {getattr(source, name)}, and this model writes no text; leave it out"
            )


def _load(
    config: ServeConfig, folder: Path, mesh: Mesh, log: TextIO
) -> tuple[LoadedPooledModel, FolderTokenizer]:
    device: jax.Device = mesh.devices.flat[0]
    say(log, f"jaxserve {__version__} on {describe(mesh)}, loading {folder}")
    with ThreadPoolExecutor(1) as pool:  # the tokenizer takes about as long as the weights
        tokenizer_loading = pool.submit(load_tokenizer, folder)
        dtype = dtype_of(config.source, device)
        model = load_pooled_model(folder, dtype=dtype, mesh=mesh, progress=log.isatty())
        return model, tokenizer_loading.result()


def _scheduler(
    config: ServeConfig,
    buckets: Buckets,
    sizes: PoolingSizes,
    model: LoadedPooledModel,
    tokenizer: FolderTokenizer,
) -> PoolingScheduler:
    limits = EngineLimits(
        max_model_len=sizes.max_model_len,
        vocab_size=min(tokenizer.vocab_size, model.config.backbone.vocab_size),
        eos_token_ids=frozenset(),
        max_logprobs=0,
        max_queued_requests=config.engine.max_queued_requests,
        max_concurrent_requests=config.engine.max_concurrent_requests,
        max_concurrent_tokens=config.engine.max_concurrent_tokens,
    )
    return PoolingScheduler(
        buckets,
        limits=limits,
        max_batch_size=sizes.max_batch_size,
        token_budget=sizes.token_budget,
    )


def _describe_answers(model: PooledConfig) -> str:
    if model.head is not None:
        return f"answers {model.output_dim} label(s), from the {model.pooling[0]} hidden state"
    length = "of unit length" if model.normalized else "as long as they come"
    return f"answers {model.output_dim} numbers, {' and '.join(model.pooling)} pooled, {length}"
