"""What does a command line of `text-generation-launcher` mean here? The same server, TGI's words.

One table says of every flag of TGI's launcher which field of ours it sets, or why it sets none.
What has no meaning here is said and otherwise left alone; what asks for something that this server
can't do is refused. A flag wins over its environment variable, that over JAXSERVE_*.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxserve.config import ServeConfig, check_config, load_config
from jaxserve.errors import ConfigError, JaxserveError
from jaxserve.version import __version__

MODEL_FOLDERS = ("/repository", "/opt/ml/model")
"""Where Inference Endpoints and SageMaker mount a model."""

TRUE, FALSE = ("", "1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag of TGI's launcher. `sets` is a section and key of ours; without it, `why` is told.

    `read` makes our value of the text; it raises ConfigError for what can't be had here.
    """

    name: str
    sets: tuple[str, str] | None = None
    read: Callable[[str], Any] = str
    is_switch: bool = False
    why: str = ""
    also: tuple[str, ...] = ()  # further spellings
    along: tuple[str, str, str] | None = None  # section, key and value set with it
    env: tuple[str, ...] | None = None  # default: the name in capitals

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.name.replace("-", "_").upper(),) if self.env is None else self.env


def _switch(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def _dtype(text: str) -> str:
    if text == "float16":
        raise ConfigError("float16 is not computed here: bfloat16 has its size and a wider range")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _quantize(text: str) -> str | None:
    """TGI names what a checkpoint is stored as, too; that is read from the checkpoint here."""
    made = {"bitsandbytes": "int8", "eetq": "int8", "bitsandbytes-nf4": "int4", "fp8": "fp8"}
    stored = ("awq", "gptq", "marlin", "compressed-tensors")
    if text in stored:
        return None
    if text not in made:
        can = ", ".join((*made, *stored))
        raise ConfigError(f"{text!r} can't be had here; what can: {can}")
    return made[text]


def _cache_dtype(text: str) -> str:
    return "fp8" if text.startswith("fp8") else text


def _refused(reason: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        raise ConfigError(reason)

    return read


_NO_SHARDS = "one process drives all devices of a host"
_NO_RATIO = "every step takes in what there is room for"
_NO_TELEMETRY = "nothing is ever sent anywhere"
_NO_ROPE = "it is read from the model's config.json"
_NO_TRACES = "no traces are exported; /metrics has the timings"

FLAGS = (
    Flag(name="model-id", sets=("source", "model"), env=("MODEL_ID", "HF_MODEL_ID")),
    Flag(name="revision", sets=("source", "revision"), env=("REVISION", "HF_MODEL_REVISION")),
    Flag(name="dtype", sets=("source", "dtype"), read=_dtype),
    Flag(
        name="quantize",
        sets=("source", "quantize"),
        read=_quantize,
        env=("QUANTIZE", "HF_MODEL_QUANTIZE"),
    ),
    Flag(name="kv-cache-dtype", sets=("engine", "kv_cache_dtype"), read=_cache_dtype),
    Flag(name="lora-adapters", sets=("source", "lora"), read=_list),
    Flag(name="served-model-name", sets=("source", "served_model_name"), read=_list),
    Flag(
        name="num-shard",
        sets=("mesh", "tensor_parallel"),
        read=int,
        env=("NUM_SHARD", "SM_NUM_GPUS"),
    ),
    Flag(name="tokenizer-config-path", sets=("source", "chat_template"), read=Path),
    Flag(
        name="disable-grammar-support",
        sets=("api", "grammar_support"),
        read=lambda text: not _switch(text),
        is_switch=True,
    ),
    Flag(name="max-concurrent-requests", sets=("engine", "max_concurrent_requests"), read=int),
    Flag(
        name="max-input-tokens",
        sets=("engine", "max_input_tokens"),
        read=int,
        also=("max-input-length",),
        env=("MAX_INPUT_TOKENS", "MAX_INPUT_LENGTH"),
    ),
    Flag(name="max-total-tokens", sets=("engine", "max_model_len"), read=int),
    Flag(name="max-batch-prefill-tokens", sets=("engine", "token_budget"), read=int),
    Flag(name="max-batch-size", sets=("engine", "max_batch_size"), read=int),
    Flag(name="max-best-of", sets=("tgi", "max_best_of"), read=int),
    Flag(name="max-stop-sequences", sets=("tgi", "max_stop_sequences"), read=int),
    Flag(name="max-top-n-tokens", sets=("tgi", "max_top_n_tokens"), read=int),
    Flag(name="max-client-batch-size", sets=("tgi", "max_client_batch_size"), read=int),
    # Docker sets HOSTNAME to the container's id, so only the flag is read.
    Flag(name="hostname", sets=("server", "host"), env=()),
    Flag(name="port", sets=("server", "port"), read=int, also=("p",)),
    Flag(name="api-key", sets=("server", "api_key"), read=_list),
    Flag(name="cors-allow-origin", sets=("server", "cors_allow_origin"), read=_list),
    Flag(name="payload-limit", sets=("server", "payload_limit"), read=int),
    Flag(name="graceful-termination-timeout", sets=("server", "shutdown_timeout"), read=float),
    Flag(
        name="json-output",
        sets=("server", "log_format"),
        read=lambda text: "json" if _switch(text) else "text",
        is_switch=True,
    ),
    Flag(
        name="max-batch-total-tokens",
        why="the KV cache takes what memory there is; set JAXSERVE_NUM_PAGES to limit it",
    ),
    Flag(name="sharded", why="--num-shard alone says how many devices share the model"),
    Flag(name="validation-workers", why="prompts are encoded by two threads"),
    Flag(name="trust-remote-code", is_switch=True, why="code that comes with a model is never run"),
    Flag(name="waiting-served-ratio", why=_NO_RATIO),
    Flag(name="max-waiting-tokens", why=_NO_RATIO),
    Flag(name="cuda-graphs", why="a program is compiled for every bucket at start"),
    Flag(name="cuda-memory-fraction", why="set XLA_PYTHON_CLIENT_MEM_FRACTION"),
    Flag(name="shard-uds-path", why=_NO_SHARDS),
    Flag(name="master-addr", why=_NO_SHARDS),
    Flag(name="master-port", why=_NO_SHARDS),
    Flag(name="prometheus-port", why="/metrics is on the one port"),
    Flag(name="huggingface-hub-cache", why="set HF_HUB_CACHE", env=()),
    Flag(name="weights-cache-override", why="set HF_HUB_CACHE"),
    Flag(name="disable-custom-kernels", is_switch=True, why="there are none to disable"),
    Flag(name="enable-prefill-logprobs", is_switch=True, why="prompts are scored on request"),
    Flag(name="otlp-endpoint", why=_NO_TRACES),
    Flag(name="otlp-service-name", why=_NO_TRACES),
    Flag(name="watermark-gamma", why="output is not watermarked"),
    Flag(name="watermark-delta", why="output is not watermarked"),
    Flag(name="usage-stats", why=_NO_TELEMETRY),
    Flag(name="disable-usage-stats", is_switch=True, why=_NO_TELEMETRY),
    Flag(name="disable-crash-reports", is_switch=True, why=_NO_TELEMETRY),
    Flag(name="rope-scaling", read=_refused(_NO_ROPE)),
    Flag(name="rope-factor", read=_refused(_NO_ROPE)),
    Flag(
        name="speculate",
        sets=("speculation", "num_speculative_tokens"),
        read=lambda text: int(text) or None,
        along=("speculation", "speculative", "ngram"),
    ),
    Flag(name="ngrok", is_switch=True, read=_refused("tunnels are not offered")),
    Flag(name="ngrok-authtoken", read=_refused("tunnels are not offered")),
    Flag(name="ngrok-edge", read=_refused("tunnels are not offered")),
)


def main(argv: Sequence[str] | None = None) -> None:
    """The `text-generation-launcher` command. Exit codes as those of `jaxserve`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:  # how SageMaker starts a container
        arguments = arguments[1:]
    try:
        given = _given(arguments, os.environ)
        config, remarks = translate(given)
        for remark in remarks:
            print(f"text-generation-launcher: {remark}", file=sys.stderr)
        from jaxserve.launch import serve

        serve(config)
    except JaxserveError as error:
        print(f"text-generation-launcher: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def translate(given: Mapping[str, str]) -> tuple[ServeConfig, list[str]]:
    """Our config for the texts of TGI's flags by name, and what to tell of those without meaning.

    Raises ConfigError for a value that is wrong, or asks for what can't be had here.
    """
    values = asdict(load_config(None))
    values["server"]["host"] = "0.0.0.0"
    if "JAXSERVE_PORT" not in os.environ and "AIP_HTTP_PORT" not in os.environ:
        values["server"]["port"] = 3000
    remarks: list[str] = []
    for flag in FLAGS:
        if flag.name not in given:
            continue
        value = _read(flag, given[flag.name])
        if flag.sets is None:
            remarks.append(f"--{flag.name} has no meaning here: {flag.why}")
        elif value is not None:
            section, key = flag.sets
            values[section][key] = value
            if flag.along is not None:
                section, key, value = flag.along
                values[section][key] = value
    if values["source"]["model"] is None:
        mounted = (folder for folder in MODEL_FOLDERS if (Path(folder) / "config.json").is_file())
        values["source"]["model"] = next(mounted, None)
    return check_config(values), remarks


def _read(flag: Flag, text: str) -> Any:
    try:
        return flag.read(text)
    except ConfigError as error:
        raise ConfigError(f"--{flag.name} {text}: {error}") from None
    except ValueError:
        raise ConfigError(f"--{flag.name}: {text!r} is not a number") from None


def _given(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What was asked for, by the flags' names."""
    parsed = vars(_parser().parse_args(arguments))
    if parsed.pop("env"):
        print(f"jaxserve {__version__}, Python {sys.version.split()[0]} on {sys.platform}")
    given: dict[str, str] = {}
    for flag in FLAGS:
        by_env = (environ[name] for name in flag.variables if environ.get(name))
        text = parsed[flag.name.replace("-", "_")]
        text = next(by_env, None) if text is None else text
        if text is not None and not (flag.is_switch and text.lower() in FALSE):
            given[flag.name] = text
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="text-generation-launcher",
        description="Serve a model with TGI's flags and environment variables (MODEL_ID for "
        "--model-id), on jaxserve. JAXSERVE_* variables set what TGI has no word for.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", "-V", action="version", version=f"jaxserve {__version__}")
    parser.add_argument("--env", "-e", action="store_true", help="print the environment first")
    for flag in FLAGS:
        spellings = [
            f"--{name}" if len(name) > 1 else f"-{name}" for name in (flag.name, *flag.also)
        ]
        sets = f"jaxserve's {flag.sets[1]}" if flag.sets else flag.why or "refused"
        known: dict[str, Any] = {"nargs": "?", "const": "true"} if flag.is_switch else {}
        parser.add_argument(
            *spellings,
            dest=flag.name.replace("-", "_"),
            metavar=flag.name.rpartition("-")[2].upper(),
            help=sets,
            **known,
        )
    return parser


if __name__ == "__main__":
    main()
