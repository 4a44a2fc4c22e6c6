"""How do numbers of the host get onto a mesh, when other hosts have some of its devices?"""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import NamedSharding


def put(numbers: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """`numbers` on the devices of `sharding`. Every host that has one must put the same.

    Over several hosts `jax.device_put` would compare what they put, which takes a collective.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(numbers, sharding)
    return jax.make_array_from_callback(numbers.shape, sharding, lambda index: numbers[index])
