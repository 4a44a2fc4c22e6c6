"""Checkpoints of every method give the logits of the floats they stand for, and stay small."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.errors import CheckpointError, ConfigError
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.models.making import Option
from jaxserve.sharding.mesh import make_mesh
from tests.models.dequantised import dequantised, quantised_weights
from tests.models.formats.checkpoints import (
    Pack,
    awq,
    bitsandbytes_four,
    bitsandbytes_int8,
    compressed_int8,
    compressed_packed,
    fp8,
    gptq,
    write_floats,
    write_quantized,
)
from tests.models.paged_run import PagedRun
from tests.models.tolerance import assert_agrees

Saved = Callable[[str], Path]
TOKENS = [5, 17, 3, 60, 8, 8, 21]
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}


def gptq_config(bits: int = 4, group_size: int = 16, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": group_size, "sym": False, **more}


def compressed(kind: str, inputs: dict[str, Any] | None = None, **weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": kind,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


INT8: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
INT4: dict[str, Any] = {
    "num_bits": 4,
    "type": "int",
    "symmetric": True,
    "strategy": "group",
    "group_size": 16,
}
FP8_CT: dict[str, Any] = {"num_bits": 8, "type": "float", "strategy": "channel"}
BY_ROW: dict[str, Any] = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}


@dataclass(frozen=True)
class Case:
    config: dict[str, Any]
    pack: Pack
    held: str | None  # what the values of a projection are kept as; None: floats
    weights: dict[str, Any] = field(default_factory=dict)


CASES = {
    "fp8 in blocks": Case({**FP8, "weight_block_size": [16, 16]}, fp8((16, 16)), "fp8"),
    "fp8 in uneven blocks": Case({**FP8, "weight_block_size": [20, 20]}, fp8((20, 20)), "fp8"),
    "fp8 by tensor": Case(FP8, fp8(None), "fp8"),
    "fp8 by row": Case(FP8, fp8(None, name="weight_scale", by_row=True), "fp8"),
    "awq": Case(AWQ, awq(16), "int4"),
    "gptq": Case(gptq_config(), gptq(4, 16), "int4"),
    "gptq by row": Case(gptq_config(group_size=-1), gptq(4, -1), "int4"),
    "gptq of 8 bits": Case(gptq_config(8), gptq(8, 16), "int8"),
    "gptq of version 2": Case(
        gptq_config(checkpoint_format="gptq_v2"), gptq(4, 16, version=2), "int4"
    ),
    "gptq in activation order": Case(gptq_config(desc_act=True), gptq(4, 16, act_order=True), None),
    "compressed int8": Case(compressed("int-quantized", **INT8), compressed_int8(), "int8"),
    "compressed int8 with zeros": Case(
        compressed("int-quantized", **{**INT8, "symmetric": False}),
        compressed_int8(zeros=True),
        "int8",
    ),
    "compressed int8 in groups": Case(
        compressed("int-quantized", **{**INT8, "strategy": "group", "group_size": 16}),
        compressed_int8(group_size=16),
        "int8",
    ),
    "compressed int4": Case(compressed("pack-quantized", **INT4), compressed_packed(4, 16), "int4"),
    "compressed int4 with zeros": Case(
        compressed("pack-quantized", **INT4), compressed_packed(4, 16, zeros=True), "int4"
    ),
    "compressed int4 in activation order": Case(
        compressed("pack-quantized", actorder="group", **INT4),
        compressed_packed(4, 16, act_order=True),
        None,
    ),
    "compressed int8 packed": Case(
        compressed("pack-quantized", **{**INT4, "num_bits": 8}), compressed_packed(8, 16), "int8"
    ),
    "compressed fp8": Case(
        compressed("float-quantized", **FP8_CT),
        fp8(None, name="weight_scale", by_row=True),
        "fp8",
    ),
    "bitsandbytes int8": Case(
        {"quant_method": "bitsandbytes", "load_in_8bit": True}, bitsandbytes_int8, "int8"
    ),
    "bitsandbytes nf4": Case(
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        bitsandbytes_four(double=False),
        None,
    ),
    "bitsandbytes nf4, doubly quantised": Case(
        {"quant_method": "bitsandbytes", "bnb_4bit_use_double_quant": True},
        bitsandbytes_four(double=True),
        None,
    ),
}


def load(folder: Path, *, tensor_parallel: int = 1, quantize: Option | None = None) -> LoadedModel:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    return load_model(folder, dtype=jnp.dtype("float32"), mesh=mesh, quantize=quantize)


def logits(model: LoadedModel) -> np.ndarray:
    mesh = make_mesh(tensor_parallel=1)
    return PagedRun(model, XlaAttention(), mesh, rows=1).step([TOKENS])[0]


@pytest.mark.parametrize("name", CASES)
def test_weights_are_the_floats_they_stand_for(name: str, saved: Saved, tmp_path: Path) -> None:
    case = CASES[name]
    floats = write_quantized(saved("llama"), tmp_path / "quantised", case.config, case.pack)
    write_floats(saved("llama"), tmp_path / "floats", floats)
    ours, expected = load(tmp_path / "quantised"), load(tmp_path / "floats")
    held = {how.values for how in ours.quantizations().values()}
    assert held == ({case.held} if case.held else set())
    found = dequantised(ours).params_by_path()
    for path, weight in expected.params_by_path().items():
        np.testing.assert_allclose(found[path], weight, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", ["fp8 in blocks", "awq", "compressed int8"])
def test_logits_are_those_of_the_floats(name: str, saved: Saved, tmp_path: Path) -> None:
    case = CASES[name]
    floats = write_quantized(saved("llama"), tmp_path / "quantised", case.config, case.pack)
    write_floats(saved("llama"), tmp_path / "floats", floats)
    assert_agrees(logits(load(tmp_path / "quantised")), logits(load(tmp_path / "floats")))


@pytest.mark.parametrize(
    "name",
    [
        "fp8 in uneven blocks",
        "awq",
        "gptq in activation order",
        "compressed int4 with zeros",
        "bitsandbytes nf4, doubly quantised",
    ],
)
def test_devices_hold_their_parts(name: str, saved: Saved, tmp_path: Path) -> None:
    case = CASES[name]
    write_quantized(saved("llama"), tmp_path, case.config, case.pack)
    one, two = load(tmp_path), load(tmp_path, tensor_parallel=2)
    for ours, theirs in zip(two.params, one.params, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("phi3", "fp8 in blocks"),
        ("phi3", "compressed int4"),
        ("deepseek-v3", "fp8 in blocks"),  # matrices of heads, and experts stored each
    ],
)
def test_fused_tensors_are_split(variant: str, name: str, saved: Saved, tmp_path: Path) -> None:
    case = CASES[name]
    floats = write_quantized(saved(variant), tmp_path / "quantised", case.config, case.pack)
    write_floats(saved(variant), tmp_path / "floats", floats)
    found = dequantised(load(tmp_path / "quantised")).params_by_path()
    for path, weight in load(tmp_path / "floats").params_by_path().items():
        np.testing.assert_allclose(found[path], weight, rtol=1e-6, err_msg=path)


def test_rows_that_go_in_are_made_int8_where_the_config_says_so(
    saved: Saved, tmp_path: Path
) -> None:
    config = compressed("int-quantized", BY_ROW, **INT8)
    write_quantized(saved("llama"), tmp_path, config, compressed_int8())
    weights = quantised_weights(load(tmp_path))
    assert {weight.quantization.int8_inputs for weight in weights.values()} == {"always"}


def test_float_weights_may_be_quantised_further_and_others_not(
    saved: Saved, tmp_path: Path
) -> None:
    nf4, packed = CASES["bitsandbytes nf4"], CASES["awq"]
    write_quantized(saved("llama"), tmp_path / "nf4", nf4.config, nf4.pack)
    made = load(tmp_path / "nf4", quantize="int8")
    assert {how.values for how in made.quantizations().values()} == {"int8"}
    write_quantized(saved("llama"), tmp_path / "awq", packed.config, packed.pack)
    with pytest.raises(ConfigError, match="are int4 as they are stored; leave quantize = int8 out"):
        load(tmp_path / "awq", quantize="int8")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"quant_method": "quip"}, "quant_method = 'quip' is not supported; handled are awq"),
        ({**AWQ, "version": "gemv"}, "version = 'gemv' is not supported"),
        ({**AWQ, "bits": 3}, "bits = 3 is not supported"),
        ({**AWQ, "sparse": True}, "not handled: sparse = True"),
        (gptq_config(3), "bits = 3 is not supported; handled are 4 and 8"),
        (gptq_config(is_marlin_format=True), "is_marlin_format = True is not supported"),
        (compressed("nvfp4-pack-quantized", **INT4), "format = 'nvfp4-pack-quantized' is not"),
        (
            {
                **compressed("pack-quantized", **INT4),
                "transform_config": {"config_groups": {"R": 1}},
            },
            "config_groups = {'R': 1} is not supported",
        ),
        ({**FP8, "expert_dtype": "fp4"}, "expert_dtype = 'fp4' is not supported"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    config: dict[str, Any], says: str, saved: Saved, tmp_path: Path
) -> None:
    write_quantized(saved("llama"), tmp_path, config, awq(16))
    with pytest.raises(CheckpointError) as refusal:
        load(tmp_path)
    assert says in str(refusal.value)
    assert "quantization_config" in str(refusal.value)


@pytest.mark.parametrize(
    ("config", "pack", "says"),
    [
        ({**AWQ, "group_size": 8}, awq(16), "scales in "),
        ({**FP8, "weight_block_size": [8, 16]}, fp8((16, 16)), "nor blocks of [8, 16]"),
        (AWQ, lambda weight: ({"qweight": awq(16)(weight)[0]["qweight"]}, weight), "is missing"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    config: dict[str, Any], pack: Pack, says: str, saved: Saved, tmp_path: Path
) -> None:
    write_quantized(saved("llama"), tmp_path, config, pack)
    with pytest.raises(CheckpointError) as refusal:
        load(tmp_path)
    assert says in str(refusal.value)
    assert "_proj" in str(refusal.value)


def test_packed_weights_without_their_config_are_refused(saved: Saved, tmp_path: Path) -> None:
    write_quantized(saved("llama"), tmp_path, AWQ, awq(16))
    raw = json.loads((tmp_path / "config.json").read_text())
    del raw["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=r"unused: .*qweight"):
        load(tmp_path)
