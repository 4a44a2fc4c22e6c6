"""Everything a user may set, as frozen dataclasses; read from flags, JAXSERVE_* and a TOML file.

A field is the one home of its default and of its help line: the command line, the environment
and the file reader are derived from it. Nothing is written into a config once it is made.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tyro
from annotated_types import Ge, Gt, Interval

from jaxserve.errors import ConfigError
from jaxserve.hosts.environment import hosts_of

ENV_PREFIX = "JAXSERVE_"

# What hosting platforms say in variables of their own; ours win.
PLATFORM_VARIABLES = {
    "AIP_HTTP_PORT": "port",
    "AIP_HEALTH_ROUTE": "health_route",
    "AIP_PREDICT_ROUTE": "predict_route",
}

# Fields of which a variable gives several values, with commas between them.
MANY = ("served_model_name", "lora", "api_key", "cors_allow_origin", "metrics_family")

Count = Annotated[int, Gt(0)]
Port = Annotated[int, Interval(ge=0, le=65535)]
Route = Annotated[str, pydantic.Field(pattern=r"^(/[^{}\s]*)?$")]
Dtype = Literal["auto", "float32", "bfloat16"]
Quantize = Literal["int8", "int4", "fp8"]
MetricsFamily = Literal["tgi", "vllm", "jaxserve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Which model, and in what precision."""

    model: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = None
    """A folder, a GGUF file or a Hugging Face hub id. Without it the model that ships."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    served_model_name: tuple[str, ...] = ()
    """Names clients may call the model by; the first is the one shown. Default: the model's own."""
    dtype: Dtype = "auto"
    """Precision of weights and KV cache. auto: float32 on a CPU, bfloat16 on TPU and GPU."""
    quantize: Quantize | None = None
    """Make the weights so while they are read; docs/quantization.md says what each costs."""
    load_format: Literal["auto", "dummy"] = "auto"
    """dummy: random weights made on the devices from config.json alone, to measure a shape by."""
    lora: tuple[str, ...] = ()
    """Adapters in PEFT's form to serve under names of their own: NAME=FOLDER, or a folder whose
    name is taken."""
    generation_config: Literal["auto", "off"] = "auto"
    """auto: the model's generation_config.json sets the defaults of sampling params."""
    chat_template: Path | None = None
    """File with a chat template to use in place of the model's own: Jinja, or JSON as
    tokenizer_config.json that has one."""
    tool_format: str = "auto"
    """How the model writes tool calls; docs/formats.md lists them. auto: as its template says."""
    reasoning_format: str = "auto"
    """How the model marks reasoning; docs/formats.md lists them. auto: as its template says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """How many devices share the model."""

    tensor_parallel: Count = 1
    """Devices that each layer is split over."""
    expert_parallel: Count = 1
    """Groups of such devices, each with its share of the experts of a mixture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsConfig:
    """Which hosts share the devices of one mesh; a process for each, with the same options.

    LeaderWorkerSet and TPU pods say so in variables of their own, which are read.
    """

    coordinator: str | None = None
    """Where host 0 listens for the others: HOST:PORT, or HOST and port 8476. JAX takes the port
    after it. Keep both from strangers."""
    num_hosts: Count | None = None
    """Hosts that run the model together. 1: this one alone, whatever the platform says."""
    host_index: Annotated[int, Ge(0)] | None = None
    """Which of the hosts this one is, counted from 0; host 0 schedules and serves HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes of the engine; each default is derived from the model and the memory there is."""

    max_model_len: Count | None = None
    """Most tokens of prompt and output together. Default: the model's context, or what fits."""
    page_size: Count | None = None
    """Tokens in a page of the KV cache."""
    num_pages: Count | None = None
    """Pages in the KV cache."""
    kv_cache_dtype: Literal["auto", "int8", "fp8"] = "auto"
    """What keys and values are kept as. auto: as they are computed; docs/quantization.md has the
    cost of the others."""
    attention_backend: Literal["auto", "xla", "tpu", "gpu"] = "auto"
    """What computes attention; docs/accelerators.md. auto: the platform's own, if it does all that
    the model asks for and agrees with xla on this device, and else xla."""
    max_batch_size: Count | None = None
    """Most requests that run at once (slots)."""
    token_budget: Count | None = None
    """Most tokens one step computes."""
    prefix_cache: bool = True
    """Reuse the KV of prompts that begin alike."""
    max_queued_requests: Count = 1024
    """Requests that may wait; one more is answered 429."""
    max_concurrent_requests: Count | None = None
    """Requests that may run or wait at once; one more is answered 429. Default: no such limit."""
    max_concurrent_tokens: Count | None = None
    """Tokens that the prompts of all requests that run or wait may have together, else 429."""
    max_input_tokens: Count | None = None
    """Most tokens of a prompt. Default: all that leave room for an answer."""
    max_loras: Count | None = None
    """Most adapters loaded at once. Default: those given with lora; 4 with lora_routes."""
    max_lora_rank: Count | None = None
    """Largest rank of an adapter. Default: that of those given with lora, at least 16."""
    compilation_cache: Path | None = None
    """Folder where compiled programs are kept for the next start; it can be moved. Default:
    ~/.cache/jaxserve/compiled."""
    explain_cache: bool = False
    """Say of every program at start whether it was kept by an earlier one, and if not, why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationConfig:
    """Guesses of the next tokens that a step verifies together; answers stay as they are."""

    speculative: Literal["ngram"] | None = None
    """ngram: guess what followed the last tokens where they stood in the same sequence before."""
    num_speculative_tokens: Annotated[int, Interval(ge=1, le=16)] = 4
    """Most tokens guessed for a request in a step."""
    prompt_lookup_min: Count = 2
    """Fewest tokens that must have stood there before."""
    prompt_lookup_max: Count = 4
    """Most tokens that are compared to find the best such place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The HTTP front."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port to listen on; 0 takes a free one."""
    api_key: tuple[str, ...] = ()
    """Keys a client may send as a bearer token; none means no key is asked for."""
    api_key_file: Path | None = None
    """File with more keys, one a line; # begins a comment."""
    payload_limit: Count = 2_000_000
    """Largest request body, in bytes."""
    cors_allow_origin: tuple[str, ...] = ()
    """Origins that browsers may call from; * is any."""
    health_route: Route = ""
    """One more path that answers as /health does. Vertex AI names it in AIP_HEALTH_ROUTE."""
    predict_route: Route = ""
    """One more path that answers as /vertex does. Vertex AI names it in AIP_PREDICT_ROUTE."""
    profile_dir: Path | None = None
    """Folder for traces of the device that /start_profile and /stop_profile take; unset: 404."""
    dev_routes: bool = False
    """Answer /reset_prefix_cache, which slows others down."""
    lora_routes: bool = False
    """Let clients load adapters from folders of this machine: /v1/load_lora_adapter."""
    strict: bool = False
    """Answer 400 to a field that has no effect here, which else is named in x-jaxserve-ignored."""
    metrics_family: tuple[MetricsFamily, ...] = ()
    """In whose vocabulary /metrics speaks: tgi, vllm, jaxserve; none means all three."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged; info has a line for every finished request."""
    log_format: Literal["text", "json"] = "text"
    """How log lines look; json is an object a line."""
    startup_report: Path | None = None
    """File that tells, once the server is ready, how long each part of the start took (JSON)."""
    shutdown_timeout: Annotated[float, Ge(0)] = 90.0
    """Seconds that running requests get to finish after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """What requests mean where the servers that this one stands in for differ."""

    tgi_compat: bool = False
    """Chats go on with a last message of the assistant unless they say otherwise, as TGI's do."""
    accept_any_model: bool = False
    """Serve the model under any name that a request has for it."""
    clamp_max_tokens: bool = False
    """Cut a max_tokens that the context has no room for, which is else answered 400."""
    default_max_tokens: Count | None = None
    """Most tokens of an answer to a request that sets no limit. Default: what the context has
    left; 16 for /v1/completions."""
    enable_force_include_usage: bool = False
    """End every stream of /v1 with its usage, as if include_usage were set."""
    exclude_tools_when_tool_choice_none: bool = False
    """Leave tools out of the prompt when none may be called; prompts then begin differently."""
    merge_system_messages: bool = True
    """Make one of the system messages a chat begins with if its template refuses several."""
    trust_request_chat_template: bool = False
    """Render chats with the chat_template that a request brings, in the sandbox like any other."""
    grammar_support: bool = True
    """Hold output to a form (JSON, regular expressions, forced calls) when asked; else 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TgiConfig:
    """Limits of TGI's own routes, with TGI's defaults."""

    max_best_of: Count = 2
    """Largest best_of of /generate."""
    max_stop_sequences: Count = 4
    """Most stop strings of /generate."""
    max_top_n_tokens: Annotated[int, Interval(ge=0, le=20)] = 5
    """Largest top_n_tokens of /generate."""
    max_client_batch_size: Annotated[int, Interval(ge=1, le=1024)] = 1024
    """Most prompts in one request to /v1/completions, and instances in one to /vertex."""
    stream_errors_as_events: bool = False
    """/generate_stream answers 200 whatever happens, as TGI does, and tells errors as an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """What `jaxserve serve` is given."""

    source: ModelSource = field(default_factory=ModelSource)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    hosts: HostsConfig = field(default_factory=HostsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    speculation: SpeculationConfig = field(default_factory=SpeculationConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    tgi: TgiConfig = field(default_factory=TgiConfig)


def load_config(path: Path | None, environ: dict[str, str] | None = None) -> ServeConfig:
    """The config that `path` (TOML, a table per section) and JAXSERVE_* variables describe.

    The environment wins over the file. Raises ConfigError for an unknown key or a bad value.
    """
    sections = _read_toml(path) if path else {}
    origin = str(path)
    _refuse_unknown(sections, [f.name for f in fields(ServeConfig)], f"section in {origin}")
    by_env = _read_environ(dict(os.environ) if environ is None else environ)
    merged: dict[str, dict[str, Any]] = {}
    for section, known in _known_keys().items():
        table = sections.get(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: {section} must be a table, got {table!r}")
        _refuse_unknown(table, known, f"key of [{section}] in {origin}")
        merged[section] = {**table, **by_env.get(section, {})}
    return check_config(merged)


def check_config(values: ServeConfig | dict[str, Any]) -> ServeConfig:
    """The config with every value of the right type and in range; raises ConfigError."""
    plain = values if isinstance(values, dict) else asdict(values)
    try:
        return pydantic.TypeAdapter(ServeConfig).validate_python(plain)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name} = {first['input']!r}: {first['msg']}") from None


def _known_keys() -> dict[str, list[str]]:
    classes: dict[str, Any] = {
        "source": ModelSource,
        "mesh": MeshConfig,
        "hosts": HostsConfig,
        "engine": EngineConfig,
        "server": ServerConfig,
        "api": ApiConfig,
        "tgi": TgiConfig,
    }
    return {name: [f.name for f in fields(cls)] for name, cls in classes.items()}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _read_environ(environ: dict[str, str]) -> dict[str, dict[str, Any]]:
    homes = {key: section for section, keys in _known_keys().items() for key in keys}
    found: dict[str, dict[str, Any]] = {"hosts": dict(hosts_of(environ))}
    for name, key in PLATFORM_VARIABLES.items():
        if environ.get(name):
            found.setdefault(homes[key], {})[key] = environ[name]
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX):
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        _refuse_unknown([key], list(homes), f"environment variable {ENV_PREFIX}*")
        many = key in MANY
        found.setdefault(homes[key], {})[key] = value.split(",") if many else value
    return found


def _refuse_unknown(given: Any, known: list[str], what: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown {what}: {key}{hint}")
