from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.reader import ConfigReader


def reader(**raw: Any) -> ConfigReader:
    return ConfigReader(raw, "config.json")


def test_absent_and_null_attributes_take_the_default() -> None:
    raw = reader(heads=None)
    assert raw.integer("heads", 4) == 4
    assert raw.number("eps", 0.5) == 0.5
    assert raw.flag("bias", False) is False
    assert raw.choice("act", "silu", ["silu"]) == "silu"
    assert raw.table("rope") is None


def test_an_attribute_without_default_has_to_be_there() -> None:
    with pytest.raises(CheckpointError, match="heads = absent: it must be a whole number"):
        reader().integer("heads")


def test_absent_attributes_take_the_default_of_the_family_and_null_ones_do_not() -> None:
    defaults = {"heads": 8, "window": 4096}
    raw = ConfigReader({"window": None}, "config.json", defaults)
    assert raw.integer("heads") == 8
    assert raw.optional_integer("window") is None
    assert raw.has("heads") and not raw.has("window")


def test_lists_are_read_whole_or_refused() -> None:
    raw = reader(kinds=["full", "local"], factors=[1, 2.5], on=[0, 1])
    assert raw.choices("kinds", ("full", "local"), length=2) == ("full", "local")
    assert raw.numbers("factors") == (1.0, 2.5)
    assert raw.switches("on", length=2) == (False, True)
    assert raw.choices("absent", (), length=2) is None
    with pytest.raises(UnsupportedModel, match="kinds = 'local' is not supported"):
        raw.choices("kinds", ("full",), length=2)
    with pytest.raises(CheckpointError, match=r"kinds = .* a list of 3"):
        raw.choices("kinds", ("full", "local"), length=3)
    with pytest.raises(CheckpointError, match=r"on = .* each 0 or 1"):
        raw.switches("on", length=3)
    with pytest.raises(CheckpointError, match=r"on = .* a list of numbers above 0"):
        raw.numbers("on")


@pytest.mark.parametrize("value", ["abc", "4", 4.0, True, 0, -1, [4]])
def test_integers_are_whole_and_positive(value: Any) -> None:
    with pytest.raises(CheckpointError) as refusal:
        reader(heads=value).integer("heads", 4)
    assert str(refusal.value).startswith(f"config.json: heads = {value!r}: it must be")


@pytest.mark.parametrize("value", ["1e-5", True, 0, -1.0, float("nan"), float("inf"), {}])
def test_numbers_are_finite_and_positive(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"eps = .*: it must be a number above 0"):
        reader(eps=value).number("eps", 0.5)


@pytest.mark.parametrize("value", [0, 1, "true"])
def test_flags_are_true_or_false(value: Any) -> None:
    with pytest.raises(CheckpointError, match="true or false"):
        reader(bias=value).flag("bias", False)


def test_a_choice_that_is_not_handled_is_unsupported() -> None:
    with pytest.raises(UnsupportedModel, match="act = 'tanh' is not supported; handled are silu"):
        reader(act="tanh").choice("act", None, ["silu"])


@pytest.mark.parametrize("value", [7, ["silu"]])
def test_a_choice_is_a_string(value: Any) -> None:
    with pytest.raises(CheckpointError, match="it must be a string"):
        reader(act=value).choice("act", "silu", ["silu"])


def test_a_table_is_an_object() -> None:
    with pytest.raises(CheckpointError, match="rope = 'linear': it must be an object"):
        reader(rope="linear").table("rope")


def test_requiring_a_value_refuses_others() -> None:
    reader(window=None).require("window", False)
    reader(window=False).require("window", False)
    with pytest.raises(UnsupportedModel, match="window = 4096 is not supported; only False"):
        reader(window=4096).require("window", False)


def test_what_nobody_asked_for_is_refused_by_name() -> None:
    raw = reader(heads=4, soft_cap=30.0, nothing=None, seen=1)
    raw.integer("heads", 1)
    with pytest.raises(UnsupportedModel) as refusal:
        raw.refuse_rest({"seen": "a reason"})
    assert "not handled: soft_cap = 30.0. Handled are heads." in str(refusal.value)


def test_a_near_miss_is_pointed_out() -> None:
    raw = reader(num_head=4)
    raw.integer("num_heads", 1)
    with pytest.raises(UnsupportedModel, match=r"num_head = 4 .did you mean num_heads"):
        raw.refuse_rest({})


def test_long_values_are_cut() -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        reader(label2id={str(n): n for n in range(1000)}).refuse_rest({})
    assert len(str(refusal.value)) < 400
