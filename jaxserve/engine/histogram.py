"""How are many measurements kept in little room? Counts between fixed bounds, and their sum.

The bounds are all that anybody exports, together; each exporter then reads exact counts at its
own. Knows no names and no units but those of the bounds below.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

Bounds = tuple[float, ...]

# fmt: off
FIRST_TOKEN_S: Bounds = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)
PER_TOKEN_S: Bounds = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)
REQUEST_S: Bounds = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)
# fmt: on
GEOMETRIC_S: Bounds = tuple(0.00015 * 1.5**step for step in range(35))
SECONDS: Bounds = tuple(sorted({*FIRST_TOKEN_S, *PER_TOKEN_S, *REQUEST_S, *GEOMETRIC_S}))
BATCH_SIZES: Bounds = tuple(2.0**power for power in range(11))  # 1 to 1024


def one_two_five(most: int) -> Bounds:
    """1, 2, 5, 10, 20, 50 ... up to `most`."""
    series = (mantissa * 10.0**power for power in range(len(str(most))) for mantissa in (1, 2, 5))
    return tuple(bound for bound in series if bound <= most)


def hundred_steps(most: int) -> Bounds:
    """A hundred equal steps up to `most`."""
    return tuple(most * step / 100 for step in range(1, 101))


def token_bounds(most: int) -> Bounds:
    """Both series of token counts up to `most`."""
    return tuple(sorted({*one_two_five(most), *hundred_steps(most)}))


class Histogram:
    """Not thread-safe: whoever shares one guards it."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # [i]: above bounds[i - 1], at most bounds[i]
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def at_most(self, bounds: Sequence[float]) -> list[int]:
        """How many values were at most each of `bounds`, which must be among its own."""
        up_to = list(accumulate(self.counts))
        return [up_to[place] for place in _places(self.bounds, tuple(bounds))]

    def copy(self) -> Histogram:
        twin = Histogram.__new__(Histogram)
        twin.bounds, twin.counts, twin.sum = self.bounds, self.counts.copy(), self.sum
        return twin


@lru_cache(maxsize=128)
def _places(bounds: Bounds, wanted: Bounds) -> tuple[int, ...]:
    assert set(wanted) <= set(bounds), "a bound that was not told apart"
    return tuple(bisect_left(bounds, bound) for bound in wanted)
