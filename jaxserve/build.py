"""How do the parts become a running server: config to mesh to weights to engine to app.

The composition root: the one place that knows every part. What it decides it prints.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TextIO

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from starlette.applications import Starlette
from tqdm import tqdm

from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.sizes import EngineSizes, Surroundings, choose_sizes
from jaxserve.generate import TextGenerator
from jaxserve.memory import free_bytes
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.cache import state_bytes_per_slot
from jaxserve.models.config import DecoderConfig
from jaxserve.models.footprint import footprint
from jaxserve.models.hub import resolve
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.loading import load_model
from jaxserve.models.source import (
    is_gguf,
    read_generation_config,
    read_raw_config,
    weight_files,
)
from jaxserve.server.app import create_app
from jaxserve.server.models import ModelDetails, ModelInfo
from jaxserve.sharding.mesh import make_mesh
from jaxserve.text.formats.table import Formats, check_format_names, choose_formats
from jaxserve.text.tokenizer import FolderTokenizer, load_tokenizer
from jaxserve.version import __version__

MAX_LOGPROBS = 20
KV_DTYPES = {"int8": jnp.dtype("int8"), "fp8": jnp.dtype("float8_e4m3fn")}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine that is warm and not started, with what the text side needs."""

    loop: EngineLoop
    runner: Runner
    tokenizer: FolderTokenizer
    folder: Path
    sizes: EngineSizes
    model: DecoderConfig
    num_params: int
    formats: Formats


def build_app(config: ServeConfig, built: BuiltEngine) -> Starlette:
    """The HTTP app over a built engine; serving it starts the engine's thread."""
    return create_app(
        TextGenerator(built.loop, built.tokenizer),
        model=_model_info(config.source, built),
        config=config.server,
        tgi=config.tgi,
        engine_health=built.loop.health,
        engine_metrics=built.loop.metrics,
        generation_config=_generation_config(config.source, built.folder),
        formats=built.formats,
    )


def build_engine(config: ServeConfig, *, log: TextIO = sys.stderr) -> BuiltEngine:
    """Load the model, choose the sizes, compile every program.

    Raises ConfigError and CheckpointError. Prints what it does and decides to `log`.
    """
    _use_compilation_cache(config.engine)
    check_format_names(tools=config.source.tool_format, reasoning=config.source.reasoning_format)
    folder = resolve(config.source.model, revision=config.source.revision)
    mesh = make_mesh(tensor_parallel=config.mesh.tensor_parallel)
    dtype = _dtype(config.source, mesh.devices.flat[0])
    _say(log, f"jaxserve {__version__} on {_describe(mesh)}, loading {folder}")
    with ThreadPoolExecutor(1) as pool:  # the tokenizer takes about as long as the weights
        tokenizer_loading = pool.submit(load_tokenizer, folder)
        model = load_model(
            folder,
            dtype=dtype,
            mesh=mesh,
            progress=log.isatty(),
            max_model_len=config.engine.max_model_len,
            quantize=config.source.quantize,
        )
        tokenizer = tokenizer_loading.result()
    kv_dtype = KV_DTYPES.get(config.engine.kv_cache_dtype, dtype)
    around = _surroundings(model.config, mesh, dtype=dtype, kv_dtype=kv_dtype)
    sizes, reasons = choose_sizes(config.engine, around)
    for reason in reasons:
        _say(log, f"  {reason}")
    limits = _limits(config.engine, sizes, tokenizer, model.config)
    runner = Runner(
        model,
        attention=XlaAttention(),
        mesh=mesh,
        sizes=sizes,
        limits=limits,
        dtype=dtype,
        kv_dtype=kv_dtype,
    )
    _warm_up(runner, log)
    scheduler = _scheduler(sizes, limits)
    return BuiltEngine(
        loop=EngineLoop(scheduler, runner),
        runner=runner,
        tokenizer=tokenizer,
        folder=folder,
        sizes=sizes,
        model=model.config,
        num_params=footprint(model.config, dtype).num_params,
        formats=choose_formats(
            tokenizer.chat_template,
            tools=config.source.tool_format,
            reasoning=config.source.reasoning_format,
        ),
    )


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


def _model_info(source: ModelSource, built: BuiltEngine) -> ModelInfo:
    is_hub_id = source.model is not None and not Path(source.model).expanduser().exists()
    own = source.model if is_hub_id and source.model else _own_name(built.folder)
    names = source.served_model_name or (own,)
    return ModelInfo(
        names=names,
        root=own,
        created=int(time.time()),
        max_model_len=built.sizes.max_model_len,
        fingerprint=_fingerprint(source, built),
        also=(own, own.rpartition("/")[2]),
        details=_model_details(source, built),
    )


def _own_name(folder: Path) -> str:
    return folder.stem if is_gguf(folder) else folder.resolve().name


def _model_details(source: ModelSource, built: BuiltEngine) -> ModelDetails:
    device = jax.devices()[0]
    in_hub_cache = built.folder.resolve().parent.name == "snapshots"
    return ModelDetails(
        device=device.platform,
        dtype=str(_dtype(source, device)),
        family=str(read_raw_config(built.folder).get("model_type", "")),
        num_params=built.num_params,
        size_bytes=sum(file.stat().st_size for file in weight_files(built.folder)),
        revision=built.folder.resolve().name if in_hub_cache else None,
        template=built.tokenizer.chat_template,
    )


def _fingerprint(source: ModelSource, built: BuiltEngine) -> str:
    """Names what an answer depends on: our version, the weights' files and revision, the sizes."""
    files = sorted((f.name, f.stat().st_size) for f in weight_files(built.folder))
    revision = built.folder.resolve().name if source.model else ""  # a hub snapshot's commit
    kinds = (source.dtype, source.quantize)
    facts = (__version__, jax.__version__, revision, files, built.model, built.sizes, kinds)
    return "fp_" + hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _generation_config(source: ModelSource, folder: Path) -> dict[str, Any]:
    return {} if source.generation_config == "off" else read_generation_config(folder)


def _scheduler(sizes: EngineSizes, limits: EngineLimits) -> Scheduler:
    pool = PagePool(sizes.num_pages, sizes.page_size, prefix_cache=sizes.prefix_cache)
    return Scheduler(
        pool,
        limits=limits,
        max_batch_size=sizes.max_batch_size,
        token_budget=sizes.token_budget,
    )


def _warm_up(runner: Runner, log: TextIO) -> None:
    started = time.perf_counter()
    bar = tqdm(  # disable=None: no bar where nobody watches
        total=runner.num_programs, desc="compiling", unit="program", file=log, disable=None
    )
    with bar:
        runner.warm_up(
            threads=os.cpu_count() or 1,
            on_compiled=lambda name, _seconds: _advance(bar, name),
        )
    _say(log, f"  {runner.num_programs} programs in {time.perf_counter() - started:.1f} s")


def _advance(bar: tqdm[Never], name: str) -> None:
    bar.set_postfix_str(name)
    bar.update()


def _surroundings(
    model: DecoderConfig, mesh: Mesh, *, dtype: jnp.dtype, kv_dtype: jnp.dtype
) -> Surroundings:
    devices = list(mesh.devices.flat)
    return Surroundings(
        platform=devices[0].platform,
        free_bytes=free_bytes(devices),
        kv_bytes_per_token=bytes_per_token(model, kv_dtype, mesh=mesh),
        state_bytes_per_slot=state_bytes_per_slot(model, dtype, mesh=mesh),
        context=model.max_model_len,
    )


def _dtype(source: ModelSource, device: jax.Device) -> jnp.dtype:
    if source.dtype != "auto":
        return jnp.dtype(source.dtype)
    return jnp.dtype("float32" if device.platform == "cpu" else "bfloat16")


def _use_compilation_cache(config: EngineConfig) -> None:
    folder = config.compilation_cache or Path("~/.cache/jaxserve/compiled").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _describe(mesh: Mesh) -> str:
    device = mesh.devices.flat[0]
    return f"{mesh.devices.size} x {device.device_kind}"


def _say(log: TextIO, line: str) -> None:
    print(line, file=log, flush=True)
