from collections.abc import Mapping
from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import (
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    QueryGrowth,
    RopeConfig,
    YarnScaling,
)
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import RopeKind, read_rope, read_rope_by_kind

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5, 2, 3],
    "long_factor": [2.0, 2.5, 4, 8],
    "original_max_position_embeddings": 512,
}


def read(raw: Mapping[str, Any], kind: RopeKind | None = None) -> RopeConfig:
    reader = ConfigReader(raw, "config.json")
    return read_rope(reader, head_dim=8, max_model_len=2048, kind=kind)


def test_without_parameters_theta_is_the_default() -> None:
    assert read({}) == RopeConfig(theta=10000.0)


def test_older_files_spell_theta_and_scaling_apart() -> None:
    raw = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}
    assert read(raw) == RopeConfig(theta=5e5, scaling=LinearScaling(factor=2.0))


def test_newer_files_hold_both_in_one_object() -> None:
    raw = {"rope_parameters": {"rope_theta": 5e5, **LLAMA3}}
    scaling = Llama3Scaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_len=8192
    )
    assert read(raw) == RopeConfig(theta=5e5, scaling=scaling)


def test_a_null_scaling_is_none() -> None:
    assert read({"rope_scaling": None, "rope_theta": 1e5}) == RopeConfig(theta=1e5)


def test_dynamic_scaling_sets_in_past_the_context_and_so_never() -> None:
    raw = {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    assert read(raw) == RopeConfig(theta=10000.0)


def test_yarn_has_the_defaults_of_transformers() -> None:
    scaling = read({"rope_scaling": YARN}).scaling
    assert isinstance(scaling, YarnScaling)
    assert (scaling.beta_fast, scaling.beta_slow, scaling.truncate) == (32.0, 1.0, True)
    assert scaling.attention_factor == pytest.approx(1.1386294)


@pytest.mark.parametrize("name", ["longrope", "su"])
def test_long_scaling_reads_under_both_names(name: str) -> None:
    scaling = read({"rope_scaling": {**LONG, "rope_type": name}}).scaling
    assert isinstance(scaling, LongScaling)
    assert scaling.long_factors == (2.0, 2.5, 4.0, 8.0)
    assert scaling.attention_factor == pytest.approx(1.1055415967)


def test_an_original_context_beside_the_table_goes_first() -> None:
    scaling = read({"rope_scaling": YARN, "original_max_position_embeddings": 64}).scaling
    assert isinstance(scaling, YarnScaling) and scaling.original_max_len == 64


def test_a_fraction_is_read_where_the_family_has_one() -> None:
    kind = RopeKind(theta="base", fraction="pct", interleaved=True)
    expected = RopeConfig(theta=100.0, fraction=0.5, interleaved=True)
    assert read({"base": 100, "pct": 0.5}, kind) == expected
    inside = {"rope_type": "default", "rope_theta": 100, "partial_rotary_factor": 0.5}
    assert read({"rope_parameters": inside}, kind) == expected


def test_a_fraction_is_refused_where_the_family_has_none() -> None:
    with pytest.raises(UnsupportedModel, match=r"partial_rotary_factor = 0\.5"):
        read({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})


def test_queries_grow_where_the_family_says_so() -> None:
    table = {**YARN, "llama_4_scaling_beta": 0.1}
    growth = read({"rope_parameters": table}, RopeKind(grows_queries=True)).query_growth
    assert growth == QueryGrowth(beta=0.1, original_max_len=512)
    with pytest.raises(UnsupportedModel, match=r"llama_4_scaling_beta = 0\.1"):
        read({"rope_parameters": table})


def test_alpha_stretches_theta_where_the_family_says_so() -> None:
    table = {"type": "dynamic", "alpha": 8.0, "factor": 1.0}
    stretched = read({"rope_scaling": table}, RopeKind(stretches_theta=True))
    assert stretched.theta == pytest.approx(10000 * 8 ** (8 / 6))
    with pytest.raises(UnsupportedModel, match=r"alpha = 8\.0"):
        read({"rope_scaling": table})


def by_kind(raw: Mapping[str, Any]) -> dict[str, RopeConfig]:
    thetas = {"full": "rope_theta", "local": "local_theta"}
    reader = ConfigReader(raw, "config.json")
    return read_rope_by_kind(reader, thetas, head_dim=8, max_model_len=2048)


def test_newer_files_have_a_table_per_kind_of_layer() -> None:
    table = {
        "full": {"rope_type": "linear", "factor": 2, "rope_theta": 100},
        "local": {"rope_type": "default", "rope_theta": 10},
    }
    assert by_kind({"rope_parameters": table}) == {
        "full": RopeConfig(theta=100.0, scaling=LinearScaling(factor=2.0)),
        "local": RopeConfig(theta=10.0),
    }


def test_older_files_scale_the_first_kind_only() -> None:
    raw = {"rope_theta": 100, "local_theta": 10, "rope_scaling": {"type": "linear", "factor": 2}}
    assert by_kind(raw) == {
        "full": RopeConfig(theta=100.0, scaling=LinearScaling(factor=2.0)),
        "local": RopeConfig(theta=10.0),
    }


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="chunked"):
        by_kind({"rope_parameters": {"full": {"rope_type": "default"}, "chunked": {"factor": 1}}})


@pytest.mark.parametrize("kind", ["axial", "mrope"])
@pytest.mark.parametrize("spelling", ["type", "rope_type"])
def test_other_scalings_are_refused_by_name(kind: str, spelling: str) -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        read({"rope_scaling": {spelling: kind, "factor": 2.0}})
    assert f"{spelling} = '{kind}' is not supported" in str(refusal.value)
    assert "default, linear, dynamic, llama3" in str(refusal.value)


@pytest.mark.parametrize(
    ("scaling", "names"),
    [
        ({"rope_type": "linear"}, "factor = absent"),
        ({"rope_type": "linear", "factor": "2"}, "factor = '2'"),
        ({**LLAMA3, "high_freq_factor": 0.5}, "high_freq_factor = 0.5"),
        ({**LLAMA3, "original_max_position_embeddings": 0.5}, "original_max_position_embeddings"),
        ({**LONG, "short_factor": [1.0]}, "short_factor = .1.0.: it must be a list of 4"),
        ({**LONG, "long_factor": [1.0, 2, 3, "x"]}, "long_factor"),
    ],
)
def test_bad_values_are_named(scaling: dict[str, Any], names: str) -> None:
    with pytest.raises(CheckpointError, match=f"rope_scaling in config.json: {names}"):
        read({"rope_scaling": scaling})


def test_a_fraction_that_turns_an_odd_number_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"partial_rotary_factor = 0\.4"):
        read(
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.4}},
            RopeKind(fraction="partial_rotary_factor"),
        )


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="attention_factor = 2"):
        read({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "attention_factor": 2}})


def test_both_spellings_at_once_are_refused() -> None:
    with pytest.raises(CheckpointError, match="rope_scaling"):
        read({"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_type": "default"}})
