"""What does the HTTP front measure? Refusals, the way into the engine, and responses.

Plain values that belong to the event loop. The engine's own are in `engine/metrics.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from jaxserve.engine.histogram import SECONDS, Histogram, one_two_five
from jaxserve.engine.metrics import EngineMetrics
from jaxserve.errors import EngineBusy, EngineFailed, RequestError

SAMPLES = one_two_five(20)


class Refusal(enum.StrEnum):
    """Why a request for a generation never got into the engine."""

    VALIDATION = "validation"
    TEMPLATE = "template"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"  # the engine has failed, or the server shuts down
    DROPPED = "dropped"  # the client left first
    INTERNAL = "internal"


class ServerMeasures:
    """Counts since start. `responses` are by handler, method and class of status."""

    def __init__(self) -> None:
        self.refused = dict.fromkeys(Refusal, 0)
        self.validation_s = Histogram(SECONDS)
        self.samples = Histogram(SAMPLES)
        self.responses: dict[tuple[str, str, str], int] = {}
        self.response_s: dict[tuple[str, str], Histogram] = {}

    def refuse(self, error: Exception) -> None:
        """Count a request that `error` kept from the engine."""
        self.refused[_refusal(error)] += 1

    def accept(self, *, num_samples: int, validation_s: float) -> None:
        """Count a request whose sequences the engine took."""
        self.samples.observe(num_samples)
        self.validation_s.observe(validation_s)

    def respond(self, handler: str, method: str, *, status: int, seconds: float) -> None:
        answered = handler, method, f"{status // 100}xx"
        self.responses[answered] = self.responses.get(answered, 0) + 1
        took = self.response_s.get((handler, method))
        if took is None:
            took = self.response_s[handler, method] = Histogram(SECONDS)
        took.observe(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All there is to export, at one moment."""

    model_name: str
    engine: EngineMetrics
    server: ServerMeasures
    draining: bool


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, RequestError):
        is_template = error.code == "invalid_template"
        return Refusal.TEMPLATE if is_template else Refusal.VALIDATION
    classes: dict[type[Exception], Refusal] = {
        HTTPException: Refusal.VALIDATION,
        EngineBusy: Refusal.OVERLOADED,
        EngineFailed: Refusal.UNAVAILABLE,
        ClientDisconnect: Refusal.DROPPED,
    }
    return next((r for cls, r in classes.items() if isinstance(error, cls)), Refusal.INTERNAL)
