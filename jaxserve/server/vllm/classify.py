"""How do POST /classify and POST /pooling answer? With labels, or with what the model gave."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.pooling import TextPooler, Vector
from jaxserve.server.bodies import JSONBody
from jaxserve.server.fields import Bool
from jaxserve.server.openai.embeddings import EmbeddingBody, told
from jaxserve.server.parsing import parse_body, unsupported
from jaxserve.server.pooled import (
    InputBody,
    check_normalize,
    classifier,
    encode_inputs,
    framed,
    ignored,
    run,
)
from jaxserve.server.refusals import Refusal
from jaxserve.server.state import state_of
from jaxserve.text.vectors import check_dimensions, normalized, probabilities, shortened

REFUSED = (Refusal("messages", "send the text as input: conversations are not read"),)


class ClassifyBody(InputBody):
    """The body of POST /classify; without activation the numbers are logits."""

    use_activation: Bool = True


class PoolingBody(EmbeddingBody):
    """The body of POST /pooling."""

    task: Literal["embed", "classify"] | None = None
    use_activation: Bool = True


async def classify(request: Request) -> Response:
    """Find the labels of texts."""
    raw = await state_of(request).take_in(request)
    body = parse_body(raw, ClassifyBody, REFUSED)
    model = state_of(request).model.resolve(body.model)
    pooler = classifier(request)
    headers = ignored(request, raw, ClassifyBody)
    answers = await run(request, await encode_inputs(pooler, body))
    data = []
    for index, logits in enumerate(answers.vectors):
        data.append({"index": index, **_labelled(pooler, logits, body.use_activation)})
    answer = framed(request, "classify", model, data) | {"usage": answers.usage}
    return JSONBody(answer, headers=headers)


async def pooling(request: Request) -> Response:
    """Give what the model gives for texts, vectors or labels."""
    raw = await state_of(request).take_in(request)
    body = parse_body(raw, PoolingBody, REFUSED)
    model = state_of(request).model.resolve(body.model)
    pooler = state_of(request).pooler
    if body.task not in (None, pooler.model.task):
        raise unsupported(
            "task", f"is {body.task}, and the model served here can {pooler.model.task}"
        )
    check_dimensions(body.dimensions, pooler.model.num_outputs, pooler.model.facts)
    check_normalize(body.normalize, pooler)
    headers = ignored(request, raw, PoolingBody)
    answers = await run(request, await encode_inputs(pooler, body))
    data = [
        {"index": index, "object": "pooling", "data": told(_pooled(pooler, vector, body), body)}
        for index, vector in enumerate(answers.vectors)
    ]
    answer = framed(request, "pool", model, data) | {"usage": answers.usage}
    return JSONBody(answer, headers=headers)


def _labelled(pooler: TextPooler, logits: Vector, use_activation: bool) -> dict[str, Any]:
    probs = probabilities(logits, pooler.model.facts) if use_activation else logits
    return {
        "label": pooler.model.labels[int(np.argmax(probs))],
        "probs": probs,
        "num_classes": len(probs),
    }


def _pooled(pooler: TextPooler, vector: Vector, body: PoolingBody) -> Vector:
    if pooler.model.task == "classify":
        return probabilities(vector, pooler.model.facts) if body.use_activation else vector
    short = shortened(vector, body.dimensions)
    return normalized(short) if body.normalize else short
