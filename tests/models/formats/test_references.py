"""What is dequantised is what transformers makes of the same numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from jaxserve.models.checkpoint import open_checkpoint
from jaxserve.models.formats.mxfp4 import open_mxfp4
from jaxserve.models.loading import load_model
from jaxserve.models.reader import ConfigReader
from jaxserve.sharding.mesh import make_mesh
from tests.models.dequantised import quantised_weights
from tests.models.formats.checkpoints import fp8, write_quantized
from tests.models.variants import VARIANTS

Saved = Callable[[str], Path]
DRAW = torch.Generator().manual_seed(0)


def packed(experts: int, rows: int, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = torch.randint(0, 256, (experts, rows, groups, 16), generator=DRAW)
    scales = torch.randint(120, 128, (experts, rows, groups), generator=DRAW)
    return blocks.to(torch.uint8), scales.to(torch.uint8)


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), slice(None), slice(None)),
        (slice(1, 2), slice(5, 70), slice(3, 9)),
        (slice(0, 1), slice(None), slice(1, 12, 2)),
    ],
)
def test_mxfp4_experts_are_those_of_transformers(
    index: tuple[slice, slice, slice], tmp_path: Path
) -> None:
    blocks, scales = packed(3, 12, 4)
    tensors = {"mlp.experts.up_blocks": blocks, "mlp.experts.up_scales": scales}
    save_file(tensors, tmp_path / "model.safetensors")
    opened = open_mxfp4(ConfigReader({}, "config.json"), open_checkpoint(tmp_path))
    expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).numpy()
    assert list(opened.tensors) == ["mlp.experts.up"]
    assert opened.tensors["mlp.experts.up"].shape == expected.shape
    np.testing.assert_array_equal(opened.tensors["mlp.experts.up"].read(index), expected[index])


def test_gpt_oss_reads_its_experts(tmp_path: Path) -> None:
    tiny = VARIANTS["gpt-oss"]
    replace(tiny, overrides={**tiny.overrides, "intermediate_size": 64}).save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    quantised, floats = dict(tensors), dict(tensors)
    for key, weight in tensors.items():
        if key.endswith(("gate_up_proj", "down_proj")):
            experts, columns, rows = weight.shape
            blocks, scales = packed(experts, rows, columns // 32)
            del quantised[key]
            quantised |= {f"{key}_blocks": blocks, f"{key}_scales": scales}
            whole = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
            floats[key] = whole.contiguous()
    raw = json.loads((tmp_path / "config.json").read_text())
    for name, stored, config in (
        ("quantised", quantised, {"quantization_config": {"quant_method": "mxfp4"}}),
        ("floats", floats, {}),
    ):
        (tmp_path / name).mkdir()
        save_file(stored, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps({**raw, **config}))
    mesh = make_mesh(tensor_parallel=2)
    ours, expected = (
        load_model(tmp_path / name, dtype=jnp.dtype("float32"), mesh=mesh)
        for name in ("quantised", "floats")
    )
    for left, right in zip(ours.params, expected.params, strict=True):
        np.testing.assert_array_equal(left, right)


def test_fp8_blocks_are_those_of_transformers(saved: Saved, tmp_path: Path) -> None:
    config = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    write_quantized(saved("llama"), tmp_path, config, fp8((16, 16)))
    stored = load_file(tmp_path / "model.safetensors")
    model = load_model(tmp_path, dtype=jnp.dtype("float32"), mesh=make_mesh(tensor_parallel=1))
    for path, weight in quantised_weights(model).items():
        key = f"model.{path}.weight"
        expected = Fp8Dequantize(None)._dequantize_one(
            stored[key], stored[f"{key}_scale_inv"], output_dtype=torch.float32
        )
        np.testing.assert_array_equal(weight.floats(), expected.numpy(), err_msg=path)
