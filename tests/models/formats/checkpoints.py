"""Writes a tiny Llama's projections in a format, and keeps the floats they then stand for.

Packing and dequantising are written out from each format's definition, apart from the product's.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

Tensors = dict[str, np.ndarray]
Pack = Callable[[np.ndarray], tuple[Tensors, np.ndarray]]
"""From floats [out, in]: the tensors of a module by leaf, and the floats they stand for."""
LEAVES = ("_proj", "_proj_with_mqa")
DRAW = np.random.default_rng(0)


def write_quantized(original: Path, folder: Path, config: Mapping[str, Any], pack: Pack) -> Tensors:
    """Write `original` with every projection packed; the floats of all weights come back."""
    weights = load_file(original / "model.safetensors")
    stored, floats = dict(weights), dict(weights)
    for key, weight in weights.items():
        module = key.removesuffix(".weight")
        if module.endswith(LEAVES):
            del stored[key]
            packed, floats[key] = pack(weight)
            stored.update({f"{module}.{leaf}": tensor for leaf, tensor in packed.items()})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: as_torch(tensor) for key, tensor in stored.items()}, folder / "model.safetensors"
    )
    raw = json.loads((original / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "quantization_config": config}))
    return floats


def as_torch(tensor: np.ndarray) -> torch.Tensor:
    if tensor.dtype == ml_dtypes.float8_e4m3fn:
        return torch.from_numpy(tensor.view(np.uint8).copy()).view(torch.float8_e4m3fn)
    if tensor.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(tensor.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(tensor, order="C"))


def write_floats(original: Path, folder: Path, floats: Tensors) -> None:
    """The same model with these floats, not quantised."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: as_torch(tensor) for key, tensor in floats.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text((original / "config.json").read_text())


def integers(*shape: int, bits: int = 4) -> np.ndarray:
    return DRAW.integers(0, 2**bits, shape)


def scales(*shape: int) -> np.ndarray:
    return DRAW.uniform(0.01, 0.05, shape).astype(np.float16).astype(np.float32)


def words(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Pack along the last axis, a number at a time, the first lowest."""
    per_word = 32 // bits
    packed = np.zeros((*numbers.shape[:-1], numbers.shape[-1] // per_word), np.uint32)
    for place in range(per_word):
        packed |= numbers[..., place::per_word].astype(np.uint32) << np.uint32(bits * place)
    return packed.view(np.int32)


def spread(per_group: np.ndarray, group_size: int) -> np.ndarray:
    """[out, in] from [out, groups]."""
    return np.stack(
        [per_group[:, column // group_size] for column in range(per_group.shape[1] * group_size)],
        axis=1,
    )


def fp8(
    block: tuple[int, int] | None, *, name: str = "weight_scale_inv", by_row: bool = False
) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        values = (weight * 100).astype(ml_dtypes.float8_e4m3fn)
        rows, columns = weight.shape
        if block:
            per_block = scales(-(-rows // block[0]), -(-columns // block[1]))
            whole = np.kron(per_block, np.ones(block, np.float32))[:rows, :columns]
        else:
            per_block = scales(rows, 1) if by_row else scales(1)[0].reshape(())
            whole = np.broadcast_to(per_block, weight.shape)
        return {"weight": values, name: per_block}, values.astype(np.float32) * whole

    return pack


def awq(group_size: int) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = weight.shape
        groups = columns // group_size
        numbers, zeros, by_group = (
            integers(rows, columns),
            integers(rows, groups),
            scales(rows, groups),
        )

        def shuffled(numbers: np.ndarray) -> np.ndarray:
            """AutoAWQ's order_map: nibble i of a word has its output order_map[i]."""
            eights = numbers.T.reshape(numbers.shape[1], -1, 8)
            return words(eights[..., [0, 2, 4, 6, 1, 3, 5, 7]].reshape(numbers.shape[1], -1), 4)

        tensors = {
            "qweight": shuffled(numbers),
            "qzeros": shuffled(zeros),
            "scales": by_group.T.astype(np.float16),
        }
        floats = (numbers - spread(zeros, group_size)) * spread(by_group, group_size)
        return tensors, floats.astype(np.float32)

    return pack


def gptq(bits: int, group_size: int, *, act_order: bool = False, version: int = 1) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = weight.shape
        size = group_size if group_size > 0 else columns
        groups = columns // size
        numbers, by_group = integers(rows, columns, bits=bits), scales(rows, groups)
        stored_zeros = integers(rows, groups, bits=bits)
        zeros = stored_zeros + (1 if version == 1 else 0)
        order = np.arange(columns) // size
        if act_order:
            order = DRAW.permutation(order)
        tensors = {
            "qweight": words(numbers, bits).T.copy(),
            "qzeros": words(stored_zeros.T.copy(), bits),
            "scales": by_group.T.astype(np.float16),
            "g_idx": order.astype(np.int32),
        }
        floats = (numbers - zeros[:, order]) * by_group[:, order]
        return tensors, floats.astype(np.float32)

    return pack


def compressed_int8(*, zeros: bool = False, group_size: int | None = None) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = weight.shape
        size = group_size or columns
        values = integers(rows, columns, bits=8) - 128
        by_group = scales(rows, columns // size)
        points = DRAW.integers(-20, 20, by_group.shape) if zeros else np.zeros(by_group.shape)
        tensors = {"weight": values.astype(np.int8), "weight_scale": by_group}
        if zeros:
            tensors["weight_zero_point"] = points.astype(np.int8)
        floats = (values - spread(points, size)) * spread(by_group, size)
        return tensors, floats.astype(np.float32)

    return pack


def compressed_packed(
    bits: int, group_size: int, *, zeros: bool = False, act_order: bool = False
) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        rows, columns = weight.shape
        half = 2 ** (bits - 1)
        values = integers(rows, columns, bits=bits) - half
        by_group = scales(rows, columns // group_size)
        points = DRAW.integers(-half, half, by_group.shape) if zeros else 0 * by_group
        order = np.arange(columns) // group_size
        tensors = {
            "weight_packed": words(values + half, bits),
            "weight_scale": by_group.astype(ml_dtypes.bfloat16),
            "weight_shape": np.array([rows, columns], np.int64),
        }
        by_group = by_group.astype(ml_dtypes.bfloat16).astype(np.float32)
        if zeros:
            packed = words((points + half).T.copy(), bits)  # along rows
            tensors["weight_zero_point"] = packed.T.copy()
        if act_order:
            order = DRAW.permutation(order)
            tensors["weight_g_idx"] = order.astype(np.int32)
        floats = (values - points[:, order]) * by_group[:, order]
        return tensors, floats.astype(np.float32)

    return pack


def bitsandbytes_int8(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
    largest = np.abs(weight).max(1)
    values = np.rint(weight / largest[:, None] * 127).astype(np.int8)
    tensors = {"weight": values, "SCB": largest, "weight_format": np.array(0, np.uint8)}
    return tensors, values * (largest[:, None] / np.float32(127))


def bitsandbytes_four(*, double: bool, blocksize: int = 64) -> Pack:
    def pack(weight: np.ndarray) -> tuple[Tensors, np.ndarray]:
        levels = np.sort(DRAW.uniform(-1, 1, 16)).astype(np.float32)
        numbers = integers(weight.size)
        num_blocks = -(-weight.size // blocksize)
        state: dict[str, Any] = {
            "quant_type": "nf4",
            "blocksize": blocksize,
            "dtype": "bfloat16",
            "shape": list(weight.shape),
        }
        tensors = {
            "weight": (numbers[::2] << 4 | numbers[1::2]).astype(np.uint8)[:, None],
            "weight.quant_map": levels,
        }
        if double:
            nested_levels = DRAW.uniform(-0.02, 0.02, 256).astype(np.float32)
            kept = integers(num_blocks, bits=8)
            nested = scales(-(-num_blocks // 8))
            state.update(nested_blocksize=8, nested_offset=0.04, nested_dtype="float32")
            magnitudes = [nested_levels[n] * nested[i // 8] + 0.04 for i, n in enumerate(kept)]
            tensors["weight.absmax"] = kept.astype(np.uint8)
            tensors["weight.nested_absmax"] = nested
            tensors["weight.nested_quant_map"] = nested_levels
        else:
            magnitudes = list(scales(num_blocks))
            tensors["weight.absmax"] = np.array(magnitudes, np.float32)
        told = json.dumps(state).encode()
        tensors["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(told, np.uint8)
        flat = [levels[n] * magnitudes[i // blocksize] for i, n in enumerate(numbers)]
        return tensors, np.array(flat, np.float32).reshape(weight.shape)

    return pack
