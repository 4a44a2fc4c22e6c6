"""How does a JSON object become a typed request, or a refusal that names the first field at fault?

Knows no route: the type says what is valid, the table what is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from jaxserve.errors import InvalidRequest
from jaxserve.server.fields import WireModel
from jaxserve.server.refusals import Refusal, refuse_unsupported

MAX_SHOWN_CHARS = 80


Body = TypeVar("Body", bound=WireModel)


def parse_body(
    body: Mapping[str, Any], model: type[Body], refused: tuple[Refusal, ...] = ()
) -> Body:
    """The typed request; raises InvalidRequest with the path of the first field at fault."""
    refuse_unsupported(body, refused)
    try:
        parsed = model.model_validate(body)
    except pydantic.ValidationError as error:
        raise _first_fault(error) from None
    parsed.check()
    return parsed


def wrong(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{param} {problem}", param=param)


def unsupported(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{param} {problem}", param=param, code="unsupported_value")


def _first_fault(error: pydantic.ValidationError) -> InvalidRequest:
    fault = error.errors(include_url=False)[0]
    kind, param = fault["type"], _path(fault["loc"])
    if kind == "missing":
        return InvalidRequest(
            f"{param} is required", param=param, code="missing_required_parameter"
        )
    problem = fault["msg"].replace("Input should", "must").replace("should", "must")
    return InvalidRequest(
        f"{param}: {problem}; got {_shown(fault['input'])}", param=param, code=_code(kind)
    )


def _code(kind: str) -> str:
    if kind == "unsupported_value":
        return kind
    return "invalid_type" if kind.endswith("_type") else "invalid_value"


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."
