"""How does each API family tell an error? Status and body per style; the path chooses the style.

Knows no exception: what is to be told comes as a Fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a class of exceptions is over HTTP. `code` None: the exception carries its own.

    `status` and `type` are OpenAI's, `tgi_type` is TGI's `error_type`; the other statuses are None
    where they are no different.
    """

    status: int
    type: str
    code: str | None
    tgi_type: str
    tgi_status: int | None = None
    ollama_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error to tell."""

    verdict: Verdict
    message: str
    param: str | None
    code: str


@dataclass(frozen=True, slots=True)
class ErrorStyle:
    """An API family's way to tell a fault."""

    status: Callable[[Fault], int]
    body: Callable[[Fault], dict[str, Any]]


TGI_TYPE_OF_CODE = {"invalid_template": "template_error"}

TGI_PREFIXES = {
    "validation": "Input validation error: ",
    "template_error": "Template error: ",
    "overloaded": "Model is overloaded: ",
    "generation": "Request failed during generation: ",
}


def _openai_body(fault: Fault) -> dict[str, Any]:
    """With TGI's `error_type` beside the object, for clients of TGI's own `/v1`."""
    return {
        "error": {
            "message": fault.message,
            "type": fault.verdict.type,
            "param": fault.param,
            "code": fault.code or None,
        },
        "error_type": _tgi_type(fault),
    }


def _tgi_status(fault: Fault) -> int:
    if fault.code == "invalid_json":
        return 400
    return fault.verdict.tgi_status or fault.verdict.status


def _tgi_body(fault: Fault) -> dict[str, Any]:
    kind = _tgi_type(fault)
    judged = fault.verdict.tgi_status is not None or kind == "overloaded"
    prefix = TGI_PREFIXES.get(kind, "") if judged else ""
    return {"error": prefix + fault.message, "error_type": kind}


def _tgi_type(fault: Fault) -> str:
    return TGI_TYPE_OF_CODE.get(fault.code, fault.verdict.tgi_type)


def _ollama_body(fault: Fault) -> dict[str, Any]:
    # Its clients have no code to look at: some look for these words.
    prefix = "model not found: " if fault.code == "model_not_found" else ""
    return {"error": prefix + fault.message}


OPENAI = ErrorStyle(lambda fault: fault.verdict.status, _openai_body)
TGI = ErrorStyle(_tgi_status, _tgi_body)
OLLAMA = ErrorStyle(lambda fault: fault.verdict.ollama_status or fault.verdict.status, _ollama_body)

_KEY = "jaxserve.error_style"


def style_of(scope: Scope) -> ErrorStyle:
    style: ErrorStyle = scope.get(_KEY, OPENAI)
    return style


def tell_errors_as(style: ErrorStyle, scope: Scope) -> None:
    """From now on; for a path that serves several families, once the body says which one it is."""
    scope[_KEY] = style


class StyleByPath:
    """Gives a request the style of its path before anything can refuse it."""

    def __init__(self, app: ASGIApp, styles: Mapping[str, ErrorStyle]) -> None:
        self.app = app
        self.styles = styles

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            tell_errors_as(self.styles.get(scope["path"], OPENAI), scope)
        await self.app(scope, receive, send)
