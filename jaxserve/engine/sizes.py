"""How large is the engine: page, pool, batch, token budget and context, and why.

Every size has a default that follows from the model and the memory there is, with the reason in
words. Plain integers; reads no device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxserve.config import EngineConfig, SpeculationConfig
from jaxserve.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSizes:
    """What the programs are compiled for, and whether requests share the pages they have alike."""

    page_size: int
    num_pages: int
    max_batch_size: int
    token_budget: int
    max_model_len: int
    prefix_cache: bool = True
    num_draft_tokens: int = 0  # that a step verifies for a row at most

    @property
    def pages_per_seq(self) -> int:
        return -(-self.max_model_len // self.page_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the sizes depend on. `free_bytes` is what the KV cache may take on one device."""

    platform: str
    free_bytes: int
    kv_bytes_per_token: int  # on one device, all layers
    state_bytes_per_slot: int = 0  # on one device, all layers; 0: the model has none
    context: int  # the model's


@dataclass(frozen=True, slots=True)
class _Defaults:
    page_size: int
    max_batch_size: int
    token_budget: int
    why: str


def _platform_defaults(platform: str) -> _Defaults:
    if platform == "cpu":
        return _Defaults(16, 16, 512, "a few cores are busy with this many rows and tokens")
    return _Defaults(128, 128, 2048, "keeps an accelerator's matrix units busy")


def page_size_of(config: EngineConfig, platform: str) -> int:
    """Tokens in a page: as asked, or as the platform likes it."""
    return config.page_size or _platform_defaults(platform).page_size


def choose_sizes(
    config: EngineConfig, around: Surroundings, speculation: SpeculationConfig | None = None
) -> tuple[EngineSizes, list[str]]:
    """The sizes, and a line of explanation for each.

    Raises ConfigError when not even one page fits, or when what is asked for contradicts itself.
    """
    defaults = _platform_defaults(around.platform)
    page_size = page_size_of(config, around.platform)
    max_batch = config.max_batch_size or _default_batch(around, defaults)
    budget = config.token_budget or max(defaults.token_budget, max_batch)
    state_bytes = max_batch * around.state_bytes_per_slot
    _refuse_state_misfit(around, state_bytes=state_bytes, max_batch=max_batch)
    around = replace(around, free_bytes=around.free_bytes - state_bytes)
    fitting = around.free_bytes // max(around.kv_bytes_per_token * page_size, 1)
    wanted_len = config.max_model_len or around.context
    num_pages = config.num_pages or min(fitting, max_batch * -(-wanted_len // page_size))
    _refuse_misfit(config, around, page_size=page_size, num_pages=num_pages, fitting=fitting)
    max_len = min(wanted_len, num_pages * page_size)
    sizes = EngineSizes(
        page_size=page_size,
        num_pages=num_pages,
        max_batch_size=max_batch,
        token_budget=budget,
        max_model_len=max_len,
        prefix_cache=config.prefix_cache and not around.state_bytes_per_slot,
        num_draft_tokens=_num_draft_tokens(speculation or SpeculationConfig(), around),
    )
    _refuse_contradictions(config, sizes, around)
    return sizes, _explain(config, sizes, around, defaults.why)


def _num_draft_tokens(config: SpeculationConfig, around: Surroundings) -> int:
    if config.speculative is None:
        return 0
    if around.state_bytes_per_slot:
        raise ConfigError(
            f"speculative is {config.speculative}, and layers of this model carry a state along, "
            "which cannot be taken back where a guess was wrong; leave it out"
        )
    if config.prompt_lookup_min > config.prompt_lookup_max:
        raise ConfigError(
            f"prompt_lookup_min is {config.prompt_lookup_min} and prompt_lookup_max "
            f"{config.prompt_lookup_max}; the former must be at most the latter"
        )
    return config.num_speculative_tokens


def _default_batch(around: Surroundings, defaults: _Defaults) -> int:
    """As the platform likes it, but with at least half of the memory for pages."""
    if not around.state_bytes_per_slot:
        return defaults.max_batch_size
    fitting = around.free_bytes // 2 // around.state_bytes_per_slot
    return min(defaults.max_batch_size, max(fitting, 1))


def _refuse_state_misfit(around: Surroundings, *, state_bytes: int, max_batch: int) -> None:
    """The states of a full batch have to leave room for at least some pages."""
    if state_bytes and state_bytes >= around.free_bytes:
        fitting = max(around.free_bytes, 0) // around.state_bytes_per_slot
        raise ConfigError(
            f"the state of {max_batch} requests does not fit: {state_bytes / 1e9:.2f} GB are "
            f"needed and {max(around.free_bytes, 0) / 1e9:.2f} GB are free for it and the KV "
            f"cache; max_batch_size must be below {fitting + 1}, or there must be more devices "
            "(tensor_parallel)"
        )


def _refuse_misfit(
    config: EngineConfig, around: Surroundings, *, page_size: int, num_pages: int, fitting: int
) -> None:
    page_bytes = around.kv_bytes_per_token * page_size
    if 0 < num_pages <= fitting:
        return
    wanted = max(num_pages, 1)
    least = f"page_size below {page_size}, a smaller dtype, or more devices (tensor_parallel)"
    way_out = f"at most {fitting} pages fit; lower num_pages" if config.num_pages else least
    raise ConfigError(
        f"the KV cache does not fit: {wanted} pages of {page_bytes / 1e6:.2f} MB need "
        f"{wanted * page_bytes / 1e9:.2f} GB and {max(around.free_bytes, 0) / 1e9:.2f} GB are "
        f"free for it; {way_out}"
    )


def _refuse_contradictions(config: EngineConfig, sizes: EngineSizes, around: Surroundings) -> None:
    if (config.max_model_len or 0) > around.context:
        raise ConfigError(
            f"max_model_len is {config.max_model_len} and the model's context {around.context}; "
            "ask for at most that"
        )
    if sizes.max_model_len < (config.max_model_len or 0):
        raise ConfigError(
            f"max_model_len is {config.max_model_len} and the KV cache holds "
            f"{sizes.max_model_len} tokens ({sizes.num_pages} pages of {sizes.page_size}); "
            "lower it, or raise num_pages"
        )
    if sizes.token_budget < sizes.max_batch_size:
        raise ConfigError(
            f"token_budget is {sizes.token_budget} and max_batch_size {sizes.max_batch_size}; "
            "a step must have room for one token of each request"
        )


def _explain(config: EngineConfig, sizes: EngineSizes, around: Surroundings, why: str) -> list[str]:
    tokens = sizes.num_pages * sizes.page_size
    pool_bytes = tokens * around.kv_bytes_per_token
    shorter = sizes.max_model_len < around.context

    def reason(asked: object, otherwise: str) -> str:
        return "as asked" if asked else otherwise

    return [
        f"context {sizes.max_model_len} tokens: "
        + reason(config.max_model_len, "what the pages hold" if shorter else "the model's own"),
        f"page {sizes.page_size} tokens: "
        + reason(config.page_size, f"the attention of this platform ({around.platform})"),
        f"pool {sizes.num_pages} pages = {tokens} tokens, {pool_bytes / 1e6:.0f} MB of "
        f"{around.free_bytes / 1e6:.0f} MB free: "
        + reason(config.num_pages, "the largest batch at full context, or what fits"),
        *_explain_state(config, sizes, around),
        f"batch {sizes.max_batch_size} requests: " + reason(config.max_batch_size, why),
        f"token budget {sizes.token_budget} a step: " + reason(config.token_budget, why),
        *_explain_drafts(sizes),
    ]


def _explain_drafts(sizes: EngineSizes) -> list[str]:
    if not sizes.num_draft_tokens:
        return []
    return [f"drafts of up to {sizes.num_draft_tokens} tokens, where verifying them pays"]


def _explain_state(config: EngineConfig, sizes: EngineSizes, around: Surroundings) -> list[str]:
    if not around.state_bytes_per_slot:
        return []
    state_bytes = sizes.max_batch_size * around.state_bytes_per_slot
    lines = [
        f"state {around.state_bytes_per_slot / 1e6:.3g} MB a request, {state_bytes / 1e6:.3g} MB "
        "for the batch: layers that carry a state instead of attending"
    ]
    if config.prefix_cache:
        lines.append("prefix cache off: a state is of a whole sequence and cannot start from pages")
    return lines
