"""How do the parts become a running server: config to mesh to weights to engine to app.

The composition root: the one place that knows every part. What it decides it prints.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

import jax
import jax.numpy as jnp
from starlette.applications import Starlette

from jaxserve.adapters import Adapters
from jaxserve.build_runner import (
    Loaded,
    choose_attention,
    load,
    make_runner,
    mesh_of,
    surroundings,
)
from jaxserve.config import EngineConfig, ModelSource, ServeConfig, SpeculationConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.metrics import AttentionInUse
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.sizes import EngineSizes, choose_sizes
from jaxserve.engine.speculation import Speculator
from jaxserve.errors import ConfigError
from jaxserve.generate import TextGenerator
from jaxserve.hosts.leader import Alone, Group
from jaxserve.hosts.terms import Terms, digest_of
from jaxserve.identity import model_info
from jaxserve.models.adapters import Room
from jaxserve.models.attention.interface import PagedBackend
from jaxserve.models.config import DecoderConfig
from jaxserve.models.footprint import footprint
from jaxserve.models.hub import resolve
from jaxserve.models.loading import LoadedModel, adapter_modules
from jaxserve.models.peft import read_rank
from jaxserve.models.source import read_generation_config
from jaxserve.phases import DEVICES, POOL, WEIGHTS, Phases
from jaxserve.profiling import profiler
from jaxserve.server.app import create_app
from jaxserve.server.models import NO_ADAPTERS
from jaxserve.startup import kept_programs, say, use_compilation_cache, warm_up
from jaxserve.text.formats.table import Formats, check_format_names, choose_formats
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer

MAX_LOGPROBS = 20
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine that is warm and not started, with what the text side needs."""

    task: Literal["generate"] = "generate"

    loop: EngineLoop
    runner: Runner
    tokenizer: FolderTokenizer
    folder: Path
    sizes: EngineSizes
    model: DecoderConfig
    num_params: int
    formats: Formats
    kv_dtype: jnp.dtype
    adapters: Adapters | None

    @property
    def max_model_len(self) -> int:
        return self.sizes.max_model_len

    @property
    def compiled_for(self) -> object:
        return self.model, self.sizes, str(self.kv_dtype)


def build_app(config: ServeConfig, built: BuiltEngine) -> Starlette:
    """The HTTP app over a built engine; serving it starts the engine's thread."""
    return create_app(
        TextGenerator(built.loop, built.tokenizer),
        model=replace(model_info(config.source, built), adapters=built.adapters or NO_ADAPTERS),
        config=config,
        engine=built.loop,
        generation_config=_generation_config(config.source, built.folder),
        formats=built.formats,
        profiler=profiler(config.server),
    )


def build_engine(
    config: ServeConfig,
    *,
    group: Group | None = None,
    log: TextIO = sys.stderr,
    phases: Phases | None = None,
) -> BuiltEngine:
    """Load the model, choose the sizes, compile every program.

    The hosts of `group` do so too, and follow this engine's runner from then on. Raises
    ConfigError and CheckpointError. Prints what it does and decides to `log`.
    """
    group, phases = group or Alone(), phases or Phases()
    use_compilation_cache(config.engine)
    check_format_names(tools=config.source.tool_format, reasoning=config.source.reasoning_format)
    folder = resolve(config.source.model, revision=config.source.revision)
    mesh = mesh_of(config.mesh)
    phases.end(DEVICES)
    with ThreadPoolExecutor(1) as pool:  # the tokenizer takes about as long as the weights
        tokenizer_loading = pool.submit(_tokenizer, config.source, folder)
        loaded = load(config, folder, mesh, log)
        tokenizer = tokenizer_loading.result()
    phases.end(WEIGHTS)
    attention = choose_attention(config.engine, loaded, log)
    sizes, limits = _agree(config, loaded, attention.backend, tokenizer, group=group, log=log)
    model, room = loaded.model.config, _room(config)
    runner = make_runner(loaded, attention.backend, sizes=sizes, limits=limits, room=room)
    phases.end(POOL)
    warm_up(runner, kept_programs(config.engine, mesh), log, phases)
    group.lead(runner)
    in_use = AttentionInUse(attention.backend.name, attention.fallback)
    loop = _loop(runner, sizes, limits, attention=in_use, speculation=config.speculation)
    return BuiltEngine(
        loop=loop,
        adapters=_adapters(config.source, folder, loaded.model, runner, loop),
        runner=runner,
        tokenizer=tokenizer,
        folder=folder,
        sizes=sizes,
        model=model,
        num_params=footprint(model, loaded.dtype).num_params,
        formats=choose_formats(
            tokenizer.chat_template,
            tools=config.source.tool_format,
            reasoning=config.source.reasoning_format,
        ),
        kv_dtype=loaded.kv_dtype,
    )


def _agree(
    config: ServeConfig,
    loaded: Loaded,
    attention: PagedBackend,
    tokenizer: FolderTokenizer,
    *,
    group: Group,
    log: TextIO,
) -> tuple[EngineSizes, EngineLimits]:
    """What the engine is built for, on all hosts of the group."""
    around = surroundings(loaded, attention)
    least = group.least(around.free_bytes, digest_of(loaded.model, attention.name))
    sizes, reasons = choose_sizes(
        config.engine, replace(around, free_bytes=least), config.speculation
    )
    for reason in reasons:
        say(log, f"  {reason}")
    limits = _limits(config.engine, sizes, tokenizer, loaded.model.config)
    group.agree(Terms(sizes, limits.vocab_size, limits.max_logprobs, _room(config)))
    return sizes, limits


def _tokenizer(source: ModelSource, folder: Path) -> FolderTokenizer:
    return load_tokenizer(_tokenizer_folder(source, folder), chat_template=source.chat_template)


def _tokenizer_folder(source: ModelSource, folder: Path) -> Path:
    """Where the tokenizer is: a config without weights may come without one, too."""
    is_alone = source.load_format == "dummy" and folder.is_dir()
    if is_alone and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return resolve(None, revision=None)
    return folder


def _room(config: ServeConfig) -> Room | None:
    """The room for adapters that the config asks for, if any."""
    given = [folder for _, folder in _named_adapters(config.source)]
    most, rank = config.engine.max_loras, config.engine.max_lora_rank
    if not given and most is None and not config.server.lora_routes:
        return None
    num_adapters = most or max(len(given), 4 if config.server.lora_routes else 1)
    if num_adapters < len(given):
        raise ConfigError(f"lora names {len(given)} adapters, more than max_loras = {num_adapters}")
    return Room(num_adapters, rank or max(16, *map(read_rank, given)))


def _adapters(
    source: ModelSource, folder: Path, model: LoadedModel, runner: Runner, loop: EngineLoop
) -> Adapters | None:
    """The adapters given with `lora`, loaded; None where there is no room for any."""
    if runner.room is None:
        return None
    modules = adapter_modules(folder, model)
    adapters = Adapters(modules, runner.room, place=runner.set_adapters, is_used=loop.uses_adapter)
    for name, given in _named_adapters(source):
        adapters.load(name, given)
    return adapters


def _named_adapters(source: ModelSource) -> list[tuple[str, Path]]:
    named = []
    for given in source.lora:
        name, _, folder = given.rpartition("=")
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise ConfigError(f"lora = {given!r}: there is no folder {folder}")
        named.append((name or path.resolve().name, path))
    return named


def _limits(
    config: EngineConfig, sizes: EngineSizes, tokenizer: FolderTokenizer, model: DecoderConfig
) -> EngineLimits:
    return EngineLimits(
        max_model_len=sizes.max_model_len,
        vocab_size=min(tokenizer.vocab_size, model.vocab_size),
        eos_token_ids=tokenizer.eos_ids,
        max_logprobs=min(MAX_LOGPROBS, model.vocab_size),
        max_queued_requests=config.max_queued_requests,
        max_concurrent_requests=config.max_concurrent_requests,
        max_concurrent_tokens=config.max_concurrent_tokens,
        max_input_tokens=config.max_input_tokens,
    )


def _generation_config(source: ModelSource, folder: Path) -> dict[str, Any]:
    return {} if source.generation_config == "off" else read_generation_config(folder)


def _loop(
    runner: Runner,
    sizes: EngineSizes,
    limits: EngineLimits,
    *,
    attention: AttentionInUse,
    speculation: SpeculationConfig,
) -> EngineLoop:
    speculator = Speculator(
        runner.buckets,
        num_tokens=sizes.num_draft_tokens,
        shortest=speculation.prompt_lookup_min,
        longest=speculation.prompt_lookup_max,
    )
    scheduler = Scheduler(
        PagePool(sizes.num_pages, sizes.page_size, prefix_cache=sizes.prefix_cache),
        limits=limits,
        max_batch_size=sizes.max_batch_size,
        token_budget=sizes.token_budget,
        speculator=speculator if speculation.speculative else None,
    )
    return EngineLoop(
        scheduler,
        runner,
        attention=attention,
        region=jax.profiler.TraceAnnotation,
        note_time=speculator.note_time,
    )
