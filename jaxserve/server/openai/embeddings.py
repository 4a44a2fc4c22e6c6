"""How does POST /v1/embeddings answer?"""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.pooling import Vector
from jaxserve.server.bodies import JSONBody
from jaxserve.server.fields import Bool, PositiveInt
from jaxserve.server.parsing import parse_body
from jaxserve.server.pooled import (
    InputBody,
    check_normalize,
    embedder,
    encode_inputs,
    framed,
    ignored,
    run,
)
from jaxserve.server.refusals import Refusal
from jaxserve.server.state import state_of
from jaxserve.text.vectors import check_dimensions, normalized, shortened

REFUSED = (Refusal("messages", "send the text as input: conversations are not embedded"),)


class EmbeddingBody(InputBody):
    """The body of POST /v1/embeddings."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: PositiveInt | None = None
    normalize: Bool | None = None


async def embeddings(request: Request) -> Response:
    """Embed texts."""
    return await embed(request, await state_of(request).take_in(request))


async def embed(request: Request, raw: dict[str, Any]) -> Response:
    """`embeddings`, for a body that has been read."""
    body = parse_body(raw, EmbeddingBody, REFUSED)
    model = state_of(request).model.resolve(body.model)
    pooler = embedder(request)
    check_dimensions(body.dimensions, pooler.model.num_outputs, pooler.model.facts)
    check_normalize(body.normalize, pooler)
    headers = ignored(request, raw, EmbeddingBody)
    answers = await run(request, await encode_inputs(pooler, body))
    data = []
    for index, vector in enumerate(answers.vectors):
        short = shortened(vector, body.dimensions)
        whole = normalized(short) if body.normalize else short
        data.append({"object": "embedding", "index": index, "embedding": told(whole, body)})
    answer = framed(request, "embd", model, data) | {"usage": answers.usage}
    return JSONBody(answer, headers=headers)


def told(vector: Vector, body: EmbeddingBody) -> Vector | str:
    """As a list of numbers, or as little-endian float32 in base64."""
    if body.encoding_format == "float":
        return vector
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
