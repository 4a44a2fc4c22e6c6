"""Pallas's Mosaic GPU interpreter, with what our decode kernel needs and it lacks.

In jax 0.10 it has no rule for layouts of registers, which mean nothing on a CPU, and its wgmma does
not take a transposed right side. Both are filled here by private names for as long as the context
lasts; a name that is gone tells when they change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from jax._src.interpreters import mlir
from jax._src.pallas.mosaic.interpret import utils
from jax._src.pallas.mosaic_gpu import core
from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks
from jax._src.pallas.mosaic_gpu.interpret.params import (
    InterpretGPUParams,
    force_gpu_interpret_mode,
)
from jax._src.state import types as state_types


@contextmanager
def interpreted_gpu() -> Iterator[None]:
    mlir.register_lowering(core.layout_cast_p, lambda _, x, **__: [x], platform="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_callbacks, "wgmma", _wgmma)
        with force_gpu_interpret_mode(InterpretGPUParams()):
            yield


def _wgmma(*, token: Any, device_id: Any, thread_id: Any, acc_dtype: Any, **operands: Any) -> Any:
    memory = gpu_callbacks._get_shared_memory()
    thread = memory.get_global_thread_id(int(device_id), int(thread_id))

    def place(name: str) -> tuple[Any, Any, tuple[int, ...] | None]:
        key = operands[f"{name}_allocation_key_as_array"]
        transforms = jax.tree.map(
            int, gpu_callbacks._remove_noop_transforms(operands[f"{name}_transforms"])
        )
        turned = None
        if transforms and isinstance(transforms[-1], state_types.TransposeTransform):
            turned, transforms = transforms[-1].permutation, transforms[:-1]
        return gpu_callbacks.HostAllocationKey.from_array(key), utils.to_range(transforms), turned

    def read(name: str) -> Any:
        key, where, turned = place(name)
        content: Any
        content, _, _ = memory.get_buffer_content(key, where, thread)
        return content if turned is None else content.transpose(turned)

    product = np.matmul(read("a"), read("b"), dtype=acc_dtype)
    key, where, _ = place("acc")
    memory.store_buffer_content(key, where, read("acc") + product, thread)
    return token
