"""How many tokens has a prompt or an answer? A distribution, as it is written on a command line."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from jaxserve.errors import ConfigError

FORMS = "128, fixed:128, uniform:64:256 or normal:512:128"


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of whole numbers that are at least 1."""

    said: str
    kind: str
    numbers: tuple[float, ...]

    @classmethod
    def parse(cls, said: str) -> Lengths:
        """`128`, `fixed:128`, `uniform:LOW:HIGH` (both included) or `normal:MEAN:DEVIATION`."""
        kind, *rest = said.split(":") if ":" in said else ("fixed", said)
        try:
            numbers = tuple(float(part) for part in rest)
        except ValueError:
            numbers = ()
        if kind not in _DRAWS or len(numbers) != _DRAWS[kind][0]:
            raise ConfigError(f"{said!r} is not a distribution of lengths; write {FORMS}")
        if numbers[0] < 1 or (kind == "uniform" and numbers[1] < numbers[0]):
            raise ConfigError(f"{said!r}: lengths begin at 1 and end no lower than they begin")
        return cls(said, kind, numbers)

    def draw(self, source: random.Random) -> int:
        return max(1, round(_DRAWS[self.kind][1](source, *self.numbers)))


_DRAWS: dict[str, tuple[int, Callable[..., float]]] = {
    "fixed": (1, lambda source, length: length),
    "uniform": (2, lambda source, low, high: source.randint(round(low), round(high))),
    "normal": (2, lambda source, mean, deviation: source.gauss(mean, deviation)),
}
"""How many numbers a kind takes, and how it draws."""
