"""What does a million tokens cost on a machine that is paid by the hour?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A machine at `price_per_hour` in any currency. It was there for `wall_s`, and for `busy_s`
    of that it worked."""

    price_per_hour: float
    wall_s: float
    busy_s: float

    def per_million(self, num_tokens: int) -> dict[str, float | None]:
        """The price of a million tokens when `num_tokens` were made: paid for the time it worked
        alone, and for all of it, idle time included. None where there were no tokens."""
        return {
            "busy": self._price(self.busy_s, num_tokens),
            "idle_inclusive": self._price(self.wall_s, num_tokens),
        }

    def _price(self, seconds: float, num_tokens: int) -> float | None:
        if num_tokens == 0:
            return None
        return self.price_per_hour * seconds / 3600 / num_tokens * 1e6
