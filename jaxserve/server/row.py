"""What is known of a path: who answers, what it reads, how errors are told, who needs no key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.server.error_styles import ErrorStyle
from jaxserve.server.fields import WireModel

Endpoint = Callable[[Request], Awaitable[Response]]

GET = ("GET",)  # answers HEAD too
POST = ("POST",)


@dataclass(frozen=True, slots=True)
class Row:
    """A path with some methods; the first line of the endpoint's docstring says what it does.

    `open`: no API key is asked for. `bodies` are the types that a body may have; the first whose
    fields are there is the one that is meant. `also_style`: how errors are told once the body says
    that it is another family's.
    """

    path: str
    endpoint: Endpoint
    methods: tuple[str, ...]
    style: ErrorStyle
    bodies: tuple[type[WireModel], ...] = ()
    open: bool = False
    answers: str = "application/json"  # media type of what is told whole
    also_style: ErrorStyle | None = None

    @property
    def summary(self) -> str:
        return (self.endpoint.__doc__ or "").partition("\n")[0].strip()

    @property
    def streams(self) -> bool:
        """Whether a body may ask for a stream."""
        return any("stream" in body.model_fields for body in self.bodies)
