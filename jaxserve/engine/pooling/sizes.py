"""How large are the batches of texts, and how long may one be, and why? Reads no device."""

from __future__ import annotations

from dataclasses import dataclass

from jaxserve.config import EngineConfig
from jaxserve.errors import ConfigError

_DEFAULTS = {"cpu": (32, 1024)}  # rows, tokens: a few cores are busy with less
_ACCELERATOR = (256, 16384)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingSizes:
    """What the programs are compiled for."""

    max_model_len: int  # most tokens of one text
    max_batch_size: int  # most texts in a step
    token_budget: int  # most tokens of a step, padding included, but for a single long text


def choose_pooling_sizes(
    config: EngineConfig, *, platform: str, context: int, advised: int | None
) -> tuple[PoolingSizes, list[str]]:
    """The sizes, and a line of explanation for each.

    `context` is what the model can read, `advised` what its folder says is read of a text. Raises
    ConfigError when what is asked for is impossible or means nothing here.
    """
    _refuse_pages(config)
    if (config.max_model_len or 0) > context:
        raise ConfigError(
            f"max_model_len is {config.max_model_len} and the model reads {context} tokens at "
            "most; ask for at most that"
        )
    rows, tokens = _DEFAULTS.get(platform, _ACCELERATOR)
    sizes = PoolingSizes(
        max_model_len=min(
            config.max_model_len or min(context, advised or context),
            config.max_input_tokens or context,
        ),
        max_batch_size=config.max_batch_size or rows,
        token_budget=config.token_budget or tokens,
    )
    is_asked = config.max_model_len or config.max_input_tokens
    own = "the model's own" if sizes.max_model_len == context else "what the model's folder says"
    busy = f"keeps this platform ({platform}) busy"
    return sizes, [
        f"input {sizes.max_model_len} tokens: {'as asked' if is_asked else own}",
        f"batch {sizes.max_batch_size} texts: {'as asked' if config.max_batch_size else busy}",
        f"token budget {sizes.token_budget} a step: {'as asked' if config.token_budget else busy}",
    ]


def _refuse_pages(config: EngineConfig) -> None:
    for name in ("page_size", "num_pages", "kv_cache_dtype", "attention_backend"):
        value = getattr(config, name)
        if value not in (None, "auto"):
            raise ConfigError(
                f"{name} is {value}, and this model keeps no KV cache: it embeds or classifies "
                "whole texts; leave it out"
            )
