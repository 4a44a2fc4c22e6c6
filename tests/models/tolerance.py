"""How close is equal, against another implementation in float32?"""

import numpy as np
from numpy.typing import ArrayLike

ABSOLUTE = 1e-4
RELATIVE = 1e-4


def assert_agrees(ours: ArrayLike, reference: ArrayLike) -> None:
    """Assert that both are equal within the one tolerance; never relax it for a test."""
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), atol=ABSOLUTE, rtol=RELATIVE
    )
