"""Pallas's TPU interpreter, with what ragged paged attention needs and it lacks.

Two gaps of the interpreter in jax 0.10 to 0.12: it cannot read through `ref.reshape` and
`ref.bitcast`, and a masked store masks along the first axis for every axis. Both are filled here by
replacing private functions for as long as the context lasts; an assertion tells when they change.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from jax._src.pallas.mosaic.interpret import interpret_pallas_call, shared_memory
from jax._src.pallas.mosaic.interpret import utils as interpret_utils
from jax._src.state import indexing
from jax._src.state import types as state_types
from jax.experimental.pallas import tpu as pltpu

_WRONG_MASK = "in_bounds_mask[in_bounds_shape[i] :] = False"
_RIGHT_MASK = "in_bounds_mask[(slice(None),) * i + (slice(in_bounds_shape[i], None),)] = False"


@contextmanager
def interpreted_tpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpret_pallas_call, "get", _reader())
        for cls in _memories():
            patch.setattr(cls, "swap_buffer_content", _masked_along_its_axis(cls))
        with pltpu.force_tpu_interpret_mode():
            yield


def _reader() -> Any:
    """The interpreter's, which reads up to the first reshape or bitcast; the rest is applied to
    the value."""
    read = interpret_pallas_call.get.__wrapped__

    def get(
        token: Any,
        device: Any,
        core: Any,
        space: Any,
        buffer: Any,
        transforms: Any,
        *rest: Any,
        **named: Any,
    ) -> Any:
        plain = [isinstance(one, indexing.NDIndexer) for one in transforms]
        count = plain.index(False) if False in plain else len(plain)
        token, value = read(token, device, core, space, buffer, transforms[:count], *rest, **named)
        if count == len(transforms):
            return token, value
        for transform in transforms[count:]:
            value = _applied(transform, value)
        return token, np.ascontiguousarray(value)

    return interpret_pallas_call.fail_on_exception(get)


def _applied(transform: Any, value: Any) -> Any:
    if isinstance(transform, state_types.ReshapeTransform):
        return value.reshape(transform.shape)
    if isinstance(transform, state_types.BitcastTransform):
        return _bitcast(value, np.dtype(transform.dtype))
    return value[interpret_utils.to_range((jax.tree.map(int, transform),))]


def _bitcast(value: Any, dtype: np.dtype[Any]) -> Any:
    """Into a wider type: rows of the last axis but one are packed, the first in the low bits."""
    ratio = dtype.itemsize // value.dtype.itemsize
    assert ratio >= 1, "the kernel only widens"
    *lead, count, width = value.shape
    packed = np.moveaxis(value.reshape(*lead, count // ratio, ratio, width), -2, -1)
    return np.ascontiguousarray(packed).view(dtype)[..., 0]


def _memories() -> list[Any]:
    classes = [each for each in vars(shared_memory).values() if inspect.isclass(each)]
    return [each for each in classes if "swap_buffer_content" in vars(each)]


def _masked_along_its_axis(cls: Any) -> Any:
    source = textwrap.dedent(inspect.getsource(cls.swap_buffer_content))
    assert _WRONG_MASK in source, "the interpreter has changed: look whether this is needed"
    names = dict(vars(shared_memory))
    fixed = source.replace(_WRONG_MASK, _RIGHT_MASK)
    flags = __future__.annotations.compiler_flag
    exec(compile(fixed, shared_memory.__file__, "exec", flags), names)
    return names["swap_buffer_content"]
