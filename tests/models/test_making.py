"""Rounding keeps its bounds, for every form and whatever rows are made at a time."""

import numpy as np
import pytest

from jaxserve.models import making
from jaxserve.models.making import (
    choice,
    in_groups,
    made_in_blocks,
    maker,
    scales_of,
    values_of,
)
from jaxserve.models.quantization import Made, Quantization

FLOATS = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
INT8 = Quantization(values="int8")
INT4 = Quantization(values="int4", group_size=32, scale_dtype="bfloat16")
FP8 = Quantization(values="fp8")


def floats_of(floats: np.ndarray, how: Quantization) -> np.ndarray:
    size = how.group_size or floats.shape[-1]
    scales = np.repeat(scales_of(floats, how).astype(np.float32), size, axis=-1)
    return integers_of(floats, how) * scales


def integers_of(floats: np.ndarray, how: Quantization) -> np.ndarray:
    held = values_of(floats, how)
    if how.values != "int4":
        return held.astype(np.float32)
    return np.stack([held & 15, held >> 4], axis=-1).reshape(floats.shape).astype(np.float32) - 8


@pytest.mark.parametrize(("how", "levels"), [(INT8, 127), (INT4, 8)])
def test_integers_are_within_half_a_level_of_the_largest(how: Quantization, levels: int) -> None:
    grouped = FLOATS.reshape(6, -1, how.group_size or 64)
    largest = np.abs(grouped).max(-1, keepdims=True)
    error = np.abs(floats_of(FLOATS, how).reshape(grouped.shape) - grouped)
    # One end of int4 has no level: 7 stands for what is up to 7.5 / 8 of the largest, and beyond.
    beyond = grouped * -np.sign(scales_of(FLOATS, how).astype(np.float32))[..., None]
    inside = (how.values == "int8") | (-beyond < largest * 7 / 8)
    rounding = 1.01 if how.scale_dtype == "float32" else 1.2  # bfloat16 has 8 bits of scale
    assert (error <= np.where(inside, largest / levels / 2, largest / levels) * rounding).all()


def test_the_largest_number_of_an_int4_group_is_kept_exactly_with_either_sign() -> None:
    floats = np.zeros((2, 32), np.float32)
    floats[0, 3], floats[1, 5] = 2.0, -2.0
    np.testing.assert_array_equal(floats_of(floats, INT4), floats)
    assert integers_of(floats, INT4)[0, 3] == -8


def test_fp8_keeps_three_bits_of_mantissa() -> None:
    error = np.abs(floats_of(FLOATS, FP8) - FLOATS)
    largest = np.abs(FLOATS).max(-1, keepdims=True)
    assert (error <= np.maximum(np.abs(FLOATS) / 16, largest / 448 / 512 * 1.01)).all()


@pytest.mark.parametrize("how", [INT8, INT4, FP8])
def test_zeros_stay_zeros(how: Quantization) -> None:
    assert not floats_of(np.zeros((2, 64), np.float32), how).any()


@pytest.mark.parametrize("how", [INT8, INT4, FP8])
def test_rows_are_made_by_themselves(how: Quantization) -> None:
    np.testing.assert_array_equal(values_of(FLOATS, how)[2:4], values_of(FLOATS[2:4], how))
    np.testing.assert_array_equal(scales_of(FLOATS, how)[2:4], scales_of(FLOATS[2:4], how))


@pytest.mark.parametrize("part", ["values", "scales"])
@pytest.mark.parametrize("shape", [(50, 64), (3, 50, 64)])
def test_a_long_weight_is_made_a_few_rows_at_a_time(
    part: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BLOCK_FLOATS", 7 * 64)
    floats = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    sizes = []

    def read(index: tuple[slice, ...]) -> np.ndarray:
        sizes.append(floats[index].size)
        return floats[index]

    make = maker(Made(INT4, shape), part)
    index = (*(slice(1, 3),) * (len(shape) - 2), slice(3, 45), slice(1, None))
    made = made_in_blocks(read, make, index)
    np.testing.assert_array_equal(made, make.of(floats)[index])
    assert max(sizes) <= 7 * 64


def test_a_width_that_groups_do_not_divide_has_a_scale_per_row() -> None:
    assert in_groups(96).group_size == 32
    assert in_groups(48) == Quantization(values="int4", scale_dtype="bfloat16")
    assert in_groups(33).values == "int8"


def test_int4_leaves_the_output_eight_bits() -> None:
    untied = choice("int4", tied_embeddings=False)
    output = untied("lm_head.weight", (61, 64))
    assert output is not None and output.values == "int8"
    assert untied("embed_tokens.weight", (61, 64)) is None
    tied = choice("int4", tied_embeddings=True)
    assert tied("embed_tokens.weight", (61, 64)) == output


def test_positions_and_single_rows_stay_floats() -> None:
    choose = choice("int8", tied_embeddings=True)
    assert choose("embed_positions.weight", (128, 64)) is None
    assert choose("layers.0.mlp.shared_gate.weight", (1, 64)) is None
