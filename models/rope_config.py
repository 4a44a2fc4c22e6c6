"""How does a config.json say which rotary position embedding a model has?

Reads `rope_parameters`, or `rope_theta` and `rope_scaling` as older files spell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from jaxserve.models.config import (
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    ProportionalScaling,
    QueryGrowth,
    RopeConfig,
    RopeScaling,
    YarnScaling,
)
from jaxserve.models.reader import ConfigReader

DEFAULT_THETA = 10000.0
IGNORED = {"max_position_embeddings": "the model's context, which is read elsewhere"}
UNREAD_BESIDE_ALPHA = dict.fromkeys(
    ("beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    "for another scaling; released files of this one repeat them",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeKind:
    """What the ropes of a family are like, and what it calls their parameters."""

    theta: str = "rope_theta"
    fraction: str | None = None  # None: the family turns all the numbers it speaks of
    turned: float = 1.0  # what it calls the fraction that these are, where it turns all of them
    interleaved: bool = False
    grows_queries: bool = False  # as RopeConfig.query_growth
    stretches_theta: bool = False  # by `alpha`, as Hunyuan does
    names_mscales: bool = False  # LongRoPE's attention factors, of short and long contexts
    unread: tuple[str, ...] = ()  # parameters that change nothing for text


def read_rope(
    raw: ConfigReader, *, head_dim: int, max_model_len: int, kind: RopeKind | None = None
) -> RopeConfig:
    """The one rope of all layers."""
    return _read_table(raw, _table(raw), kind or RopeKind(), (head_dim, max_model_len))


def read_rope_by_kind(
    raw: ConfigReader,
    thetas: Mapping[str, str],
    *,
    head_dim: int | Mapping[str, int],
    max_model_len: int,
) -> dict[str, RopeConfig]:
    """A rope for each kind of layer in `thetas`, which says what older files call its theta.

    `head_dim` is that of all kinds, or of each. Older files scale the first kind only. Raises
    UnsupportedModel where newer ones name others.
    """
    table = _table(raw)
    nested = table is not None and any(table.has(layers) for layers in thetas)
    ropes = {}
    for index, (layers, theta) in enumerate(thetas.items()):
        of_kind = table.table(layers) if table and nested else None if index else table
        kind = RopeKind(theta=theta)
        dim = head_dim if isinstance(head_dim, int) else head_dim[layers]
        ropes[layers] = _read_table(raw, of_kind, kind, (dim, max_model_len))
    if table and nested:
        table.refuse_rest({})
    return ropes


def read_whole_head_factor(raw: ConfigReader) -> float:
    """What scaling multiplies whole queries and keys with, be they turned in part: YaRN's
    `mscale_all_dim`, as DeepSeek-V2 has it. The one rope of all layers is to be read besides."""
    table = _table(raw)
    of_all = table.optional_number("mscale_all_dim") if table else None
    return _yarn_length(of_all, table.number("factor")) if table and of_all else 1.0


def _table(raw: ConfigReader) -> ConfigReader | None:
    older, newer = raw.table("rope_scaling"), raw.table("rope_parameters")
    if older and newer and raw.given("rope_parameters"):
        raise raw.wrong("rope_scaling", "given", "left out where rope_parameters is given")
    return older or newer


def _read_table(
    raw: ConfigReader, table: ConfigReader | None, kind: RopeKind, lengths: tuple[int, int]
) -> RopeConfig:
    head_dim, max_model_len = lengths
    original = raw.optional_integer("original_max_position_embeddings")
    theta = raw.number(kind.theta, DEFAULT_THETA)
    fraction = 1.0 if kind.fraction is None else raw.number(kind.fraction, 1.0)
    if table is None:
        return RopeConfig(theta=theta, fraction=fraction, interleaved=kind.interleaved)
    theta = table.number("rope_theta", theta)
    scaling = _read_scaling(table, original, max_model_len)
    if kind.fraction is not None:
        fraction = table.number("partial_rotary_factor", fraction)
    elif not isinstance(scaling, ProportionalScaling):
        table.require("partial_rotary_factor", kind.turned)
    if kind.stretches_theta and (alpha := table.optional_number("alpha")):
        theta = theta * alpha ** (head_dim / (head_dim - 2))
    scaling = _read_scaling(table, original, max_model_len)
    if kind.names_mscales and isinstance(scaling, LongScaling):
        scaling = replace(scaling, attention_factor=_read_mscale(table))
    rope = RopeConfig(
        theta=theta,
        scaling=scaling,
        fraction=fraction,
        interleaved=kind.interleaved,
        query_growth=_read_growth(table) if kind.grows_queries else None,
    )
    _refuse_misfit(table, rope, head_dim)
    unread = dict.fromkeys(kind.unread, "changes nothing for text")
    beside_alpha = UNREAD_BESIDE_ALPHA if kind.stretches_theta else {}
    table.refuse_rest({**IGNORED, **beside_alpha, **unread})
    return rope


def _refuse_misfit(table: ConfigReader, rope: RopeConfig, head_dim: int) -> None:
    num_turned = int(head_dim * rope.fraction)
    if num_turned % 2 or num_turned > head_dim:
        wanted = f"so that an even number of each head's {head_dim} numbers is turned"
        raise table.wrong("partial_rotary_factor", rope.fraction, wanted)
    if isinstance(rope.scaling, LongScaling):
        for name, factors in (
            ("short_factor", rope.scaling.short_factors),
            ("long_factor", rope.scaling.long_factors),
        ):
            if len(factors) != num_turned // 2:
                raise table.wrong(name, list(factors), f"a list of {num_turned // 2}")


def _read_scaling(
    table: ConfigReader, outside: int | None, max_model_len: int
) -> RopeScaling | None:
    """`outside` is the pretraining's context where it stands beside the table: it goes first."""
    older = table.choice("type", "default", SCALINGS)
    kind = table.choice("rope_type", older, SCALINGS)
    original = outside or max_model_len
    if kind in _KNOWS_ORIGINAL:
        inside = table.integer("original_max_position_embeddings", original)
        original = outside or inside
    return SCALINGS[kind](table, original, max_model_len)


def _read_default(table: ConfigReader, original: int, max_model_len: int) -> None:
    return None


def _read_linear(table: ConfigReader, original: int, max_model_len: int) -> LinearScaling:
    return LinearScaling(factor=table.number("factor"))


def _read_dynamic(table: ConfigReader, original: int, max_model_len: int) -> None:
    """It sets in past `max_position_embeddings`, and no sequence here grows longer than that."""
    table.number("factor", 1.0)


def _read_proportional(
    table: ConfigReader, original: int, max_model_len: int
) -> ProportionalScaling:
    return ProportionalScaling(
        fraction=table.number("partial_rotary_factor", 1.0), factor=table.number("factor", 1.0)
    )


def _read_llama3(table: ConfigReader, original: int, max_model_len: int) -> Llama3Scaling:
    low, high = table.number("low_freq_factor"), table.number("high_freq_factor")
    if high < low:
        raise table.wrong("high_freq_factor", high, f"at least low_freq_factor, {low}")
    return Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_len=original,
    )


def _read_yarn(table: ConfigReader, original: int, max_model_len: int) -> YarnScaling:
    factor = table.number("factor", max_model_len / original)
    return YarnScaling(
        factor=factor,
        beta_fast=table.number("beta_fast", 32.0),
        beta_slow=table.number("beta_slow", 1.0),
        original_max_len=original,
        attention_factor=_yarn_attention_factor(table, factor),
        truncate=table.flag("truncate", True),
    )


def _yarn_attention_factor(table: ConfigReader, factor: float) -> float:
    of_part, of_all = table.optional_number("mscale"), table.optional_number("mscale_all_dim")
    computed = (
        _yarn_length(of_part, factor) / _yarn_length(of_all, factor)
        if of_part and of_all
        else _yarn_length(1.0, factor)
    )
    return table.number("attention_factor", computed)


def _yarn_length(by: float, factor: float) -> float:
    return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0


def _read_long(table: ConfigReader, original: int, max_model_len: int) -> LongScaling:
    factor = table.number("factor", max_model_len / original)
    computed = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return LongScaling(
        short_factors=table.numbers("short_factor"),
        long_factors=table.numbers("long_factor"),
        original_max_len=original,
        attention_factor=table.number("attention_factor", computed),
    )


def _read_mscale(table: ConfigReader) -> float:
    """The one attention factor of released files, which name it twice."""
    short, long = table.number("short_mscale"), table.number("long_mscale")
    if short != long:
        raise table.refused("long_mscale", long, f"only short_mscale = {short} is handled")
    return short


def _read_growth(table: ConfigReader) -> QueryGrowth | None:
    beta = table.optional_number("llama_4_scaling_beta")
    if beta is None:
        return None
    return QueryGrowth(
        beta=beta, original_max_len=table.integer("original_max_position_embeddings")
    )


SCALINGS: Mapping[str, Callable[[ConfigReader, int, int], RopeScaling | None]] = {
    "default": _read_default,
    "linear": _read_linear,
    "dynamic": _read_dynamic,
    "llama3": _read_llama3,
    "yarn": _read_yarn,
    "longrope": _read_long,
    "proportional": _read_proportional,
    "su": _read_long,  # as Phi-3's first files call it
}
_KNOWS_ORIGINAL = ("llama3", "yarn", "longrope", "su")
