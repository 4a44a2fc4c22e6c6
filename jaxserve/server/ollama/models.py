"""What does an Ollama client see of the models here? They can be listed and not changed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.errors import InvalidRequest
from jaxserve.server.bodies import JSONBody, read_object
from jaxserve.server.fields import Str, WireModel
from jaxserve.server.models import ModelInfo
from jaxserve.server.ollama.answer import rfc3339
from jaxserve.server.parsing import parse_body
from jaxserve.server.state import state_of
from jaxserve.text.calls.reader import AnswerFormats

NEVER = "9999-12-31T23:59:59Z"
QUANTIZATION = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


class ShowBody(WireModel):
    """`name` is what `model` was called before."""

    model: Str = ""
    name: Str = ""


async def tags(request: Request) -> Response:
    """The models that are served, as Ollama lists them."""
    model = state_of(request).model
    return JSONBody({"models": [_entry(model, name) for name in model.names]})


async def running(request: Request) -> Response:
    """Every model that is listed runs, and none is ever unloaded."""
    model = state_of(request).model
    in_accelerator = 0 if model.details.device == "cpu" else model.details.size_bytes
    more = {
        "expires_at": NEVER,
        "size_vram": in_accelerator,
        "context_length": model.max_model_len,
    }
    return JSONBody({"models": [_entry(model, name) | more for name in model.names]})


async def show(request: Request) -> Response:
    """What a model is: its details, template and capabilities."""
    state = state_of(request)
    body = parse_body(await read_object(request), ShowBody)
    model = state.model
    model.resolve(body.model or body.name)
    family = model.details.family or "unknown"
    return JSONBody(
        {
            "modelfile": f"FROM {model.root}\n",
            "parameters": "",
            "template": model.details.template,
            "details": _details(model),
            "model_info": {
                "general.architecture": family,
                "general.parameter_count": model.details.num_params,
                f"{family}.context_length": model.max_model_len,
            },
            "capabilities": _capabilities(model, state.formats),
            "modified_at": _modified_at(model),
        }
    )


async def no_store(request: Request) -> Response:
    """Refused: models are not made, pulled or deleted."""
    raise InvalidRequest(
        "models are not pulled, made or removed through the API: start the server with another "
        "one, as jaxserve serve MODEL",
        code="unsupported_value",
    )


def _entry(model: ModelInfo, name: str) -> dict[str, Any]:
    tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return {
        "name": tagged,
        "model": tagged,
        "modified_at": _modified_at(model),
        "size": model.details.size_bytes,
        "digest": hashlib.sha256(f"{model.root} {model.fingerprint}".encode()).hexdigest(),
        "details": _details(model),
    }


def _details(model: ModelInfo) -> dict[str, Any]:
    details = model.details
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": details.family,
        "families": [details.family] if details.family else [],
        "parameter_size": _parameter_size(details.num_params),
        "quantization_level": QUANTIZATION.get(details.dtype, details.dtype.upper()),
    }


def _capabilities(model: ModelInfo, formats: AnswerFormats) -> list[str]:
    if model.task != "generate":
        return ["embedding"] if model.task == "embed" else []
    has = {"tools": formats.tools, "thinking": formats.reasoning}
    return ["completion", *(name for name, form in has.items() if form is not None)]


def _parameter_size(num_params: int) -> str:
    if num_params >= 1_000_000_000:
        return f"{num_params / 1e9:.1f}B"
    return f"{num_params / 1e6:.2f}M"


def _modified_at(model: ModelInfo) -> str:
    return rfc3339(datetime.fromtimestamp(model.created, UTC))
