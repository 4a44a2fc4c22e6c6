"""The same model with floats for its quantised weights."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from jaxserve.models.loading import LoadedModel
from jaxserve.models.quantized import QuantizedWeight


def quantised_weights(model: LoadedModel) -> dict[str, QuantizedWeight]:
    """By the path of their module."""
    modules = nnx.iter_modules(model.merge(model.params))
    return {
        ".".join(map(str, path[:-1])): module
        for path, module in modules
        if isinstance(module, QuantizedWeight)
    }


def dequantised(model: LoadedModel) -> LoadedModel:
    """Quantised weights become the float32 arrays they stand for.

    Those with int8 inputs stay: their products round more than weights.
    """
    decoder = model.merge(model.params)
    for _, module in list(nnx.iter_modules(decoder)):
        weight = getattr(module, "weight", None)
        if isinstance(weight, QuantizedWeight) and weight.quantization.int8_inputs == "never":
            module.weight = nnx.Param(weight.arrays.floats(jnp.dtype("float32")))
    graphdef, state = nnx.split(decoder)
    params, treedef = jax.tree.flatten(state)
    return dataclasses.replace(model, graphdef=graphdef, treedef=treedef, params=tuple(params))
