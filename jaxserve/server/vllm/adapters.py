"""How are adapters loaded and unloaded while the server serves? vLLM's two routes.

They read folders of this machine that a client names, so they answer 403 unless switched on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jaxserve.errors import CheckpointError, ConfigError, InvalidRequest
from jaxserve.server.bodies import read_object
from jaxserve.server.fields import Bool, Str, WireModel
from jaxserve.server.parsing import parse_body, wrong
from jaxserve.server.state import ServerState, state_of


class LoadAdapterBody(WireModel):
    """The body of POST /v1/load_lora_adapter. With `load_inplace` one of that name is replaced."""

    lora_name: Annotated[Str, Field(min_length=1, max_length=200)]
    lora_path: Annotated[Str, Field(min_length=1)]
    load_inplace: Bool = False


class UnloadAdapterBody(WireModel):
    """The body of POST /v1/unload_lora_adapter."""

    lora_name: Annotated[Str, Field(min_length=1)]


async def load_adapter(request: Request) -> Response:
    """Load an adapter from a folder of the server's machine."""
    state = _switched_on(request)
    body = parse_body(await read_object(request), LoadAdapterBody)
    if body.lora_name in (*state.model.names, *state.model.also):
        raise wrong("lora_name", f"{body.lora_name!r} is the name of the model itself")
    try:
        await run_in_threadpool(
            state.model.adapters.load,
            body.lora_name,
            Path(body.lora_path),
            again=body.load_inplace,
        )
    except CheckpointError as error:
        raise InvalidRequest(str(error), param="lora_path") from None
    except ConfigError as error:
        raise InvalidRequest(str(error), param="lora_name") from None
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


async def unload_adapter(request: Request) -> Response:
    """Unload an adapter; requests that use it end undisturbed."""
    state = _switched_on(request)
    body = parse_body(await read_object(request), UnloadAdapterBody)
    state.model.adapters.unload(body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _switched_on(request: Request) -> ServerState:
    state = state_of(request)
    if not state.config.server.lora_routes:
        raise HTTPException(403, "adapters are loaded at start; start with --lora-routes for this")
    return state
