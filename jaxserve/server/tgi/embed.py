"""How do the routes of text-embeddings-inference answer, and the bare address for its clients?

TGI's sibling for models that embed or classify: bare lists of numbers, one for each input.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.pooling import TextPooler
from jaxserve.server.bodies import JSONBody
from jaxserve.server.fields import Bool, Int, PositiveInt, Str, WireModel
from jaxserve.server.parsing import parse_body, unsupported
from jaxserve.server.pooled import Inputs, check_normalize, classifier, embedder, ignored, run
from jaxserve.server.state import state_of
from jaxserve.text.sequences import Cut, Sequence
from jaxserve.text.vectors import check_dimensions, normalized, probabilities, shortened


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class _TextsBody(WireModel):
    """`inputs` is a list in every case."""

    inputs: Inputs
    truncate: Bool = False
    truncation_direction: Annotated[
        Literal["left", "right"], BeforeValidator(_lower, json_schema_input_type=str)
    ] = "right"

    def cut(self, pooler: TextPooler) -> Cut | None:
        return pooler.cut_to(None, self.truncation_direction) if self.truncate else None


class EmbedInputsBody(_TextsBody):
    """The body of POST /embed."""

    normalize: Bool = True
    prompt_name: Str | None = None
    dimensions: PositiveInt | None = None


class PredictParameters(WireModel):
    """What huggingface_hub's client sends beside the texts to classify."""

    top_k: Annotated[Int, Field(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class PredictLabelsBody(_TextsBody):
    """The body of POST /predict."""

    raw_scores: Bool = False
    parameters: PredictParameters = PredictParameters()


async def embed(request: Request) -> Response:
    """Embed texts, as text-embeddings-inference does."""
    return await embed_inputs(request, await state_of(request).take_in(request))


async def predict(request: Request) -> Response:
    """Find the labels of texts, as text-embeddings-inference does."""
    return await predict_labels(request, await state_of(request).take_in(request))


async def answer(request: Request, raw: dict[str, Any]) -> Response:
    """POST `/` of a model that does not generate: vectors or labels, as it has them."""
    if state_of(request).pooler.model.task == "embed":
        return await embed_inputs(request, raw)
    return await predict_labels(request, raw)


async def embed_inputs(request: Request, raw: dict[str, Any]) -> Response:
    """A list of vectors."""
    body = parse_body(raw, EmbedInputsBody)
    pooler = embedder(request)
    check_dimensions(body.dimensions, pooler.model.num_outputs, pooler.model.facts)
    check_normalize(body.normalize, pooler)
    headers = ignored(request, raw, EmbedInputsBody)
    sequences = await _sequences(pooler, body, prompt_name=body.prompt_name)
    vectors = [shortened(v, body.dimensions) for v in (await run(request, sequences)).vectors]
    told = [normalized(vector) for vector in vectors] if body.normalize else vectors
    return JSONBody(told, headers=headers)


async def predict_labels(request: Request, raw: dict[str, Any]) -> Response:
    """For each text its labels, the likeliest first."""
    body = parse_body(raw, PredictLabelsBody)
    pooler = classifier(request)
    given = body.parameters
    if given.function_to_apply not in (None, "none", _applied(pooler)):
        applied = _applied(pooler)
        raise unsupported("parameters.function_to_apply", f"must be {applied} or none here")
    headers = ignored(request, raw, PredictLabelsBody)
    is_raw = body.raw_scores or given.function_to_apply == "none"
    answers = await run(request, await _sequences(pooler, body, prompt_name=None))
    told = []
    for logits in answers.vectors:
        scores = logits if is_raw else probabilities(logits, pooler.model.facts)
        labelled = zip(pooler.model.labels, scores.tolist(), strict=True)
        ranked = sorted(labelled, key=lambda pair: -pair[1])[: given.top_k]
        told.append([{"label": label, "score": score} for label, score in ranked])
    return JSONBody(told, headers=headers)


async def _sequences(
    pooler: TextPooler, body: _TextsBody, *, prompt_name: str | None
) -> list[Sequence]:
    cut = body.cut(pooler)
    return [
        await pooler.encode(text, cut=cut, prompt_name=prompt_name, param="inputs")
        for text in body.inputs
    ]


def _applied(pooler: TextPooler) -> str:
    facts = pooler.model.facts
    if facts.is_regression:
        return "none"
    return "sigmoid" if facts.is_multi_label or pooler.model.num_outputs == 1 else "softmax"
