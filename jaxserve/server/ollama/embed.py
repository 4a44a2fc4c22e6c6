"""How do Ollama's `/api/embed` and its older `/api/embeddings` answer?"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.pooling import TextPooler
from jaxserve.server.bodies import JSONBody
from jaxserve.server.fields import Bool, PositiveInt, Str, WireModel
from jaxserve.server.parsing import parse_body
from jaxserve.server.pooled import Answers, embedder, ignored, run, texts
from jaxserve.server.state import state_of
from jaxserve.server.timing import Stopwatch
from jaxserve.text.vectors import check_dimensions, normalized, shortened


def _inputs(value: Any) -> list[str]:
    return [] if value == [] else texts(value)


_READ = BeforeValidator(_inputs, json_schema_input_type=str | list[str])


class OllamaEmbedBody(WireModel):
    """The body of POST /api/embed; nothing to embed is a question whether the model is there."""

    model: Str = ""
    input: Annotated[list[str], _READ] = Field(default_factory=list)
    truncate: Bool = True
    dimensions: PositiveInt | None = None


class OllamaEmbeddingsBody(WireModel):
    """The body of POST /api/embeddings; what is too long is always cut."""

    model: Str = ""
    prompt: Str = ""


async def embed(request: Request) -> Response:
    """Embed texts, at unit length, as Ollama does whatever the model."""
    watch = Stopwatch()
    raw = await state_of(request).take_in(request)
    body = parse_body(raw, OllamaEmbedBody)
    model = state_of(request).model.resolve(body.model)
    pooler = embedder(request)
    check_dimensions(body.dimensions, pooler.model.num_outputs, pooler.model.facts)
    headers = ignored(request, raw, OllamaEmbedBody)
    answers = await _answers(request, pooler, body.input, truncate=body.truncate)
    vectors = [normalized(shortened(vector, body.dimensions)) for vector in answers.vectors]
    told = {
        "model": model,
        "embeddings": vectors,
        "total_duration": watch.total_ns,
        "load_duration": 0,
        "prompt_eval_count": answers.num_tokens,
    }
    return JSONBody(told, headers=headers)


async def embeddings(request: Request) -> Response:
    """Embed a text, as Ollama did before."""
    raw = await state_of(request).take_in(request)
    body = parse_body(raw, OllamaEmbeddingsBody)
    state_of(request).model.resolve(body.model)
    headers = ignored(request, raw, OllamaEmbeddingsBody)
    asked = [body.prompt] if body.prompt else []
    answers = await _answers(request, embedder(request), asked, truncate=True)
    vector: Any = answers.vectors[0] if answers.vectors else []
    told = {"embedding": vector}
    return JSONBody(told, headers=headers)


async def _answers(
    request: Request, pooler: TextPooler, inputs: list[str], *, truncate: bool
) -> Answers:
    cut = pooler.cut_to(None) if truncate else None
    return await run(request, [await pooler.encode(text, cut=cut) for text in inputs])
