"""How do the routes called rerank answer? Documents, the best for a query first.

With `documents` as Jina, Cohere and vLLM have it; with `texts` as text-embeddings-inference does.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from jaxserve.server.bodies import JSONBody
from jaxserve.server.error_styles import TGI, tell_errors_as
from jaxserve.server.fields import Bool, Int, Str, WireModel, wrong_type
from jaxserve.server.parsing import parse_body
from jaxserve.server.pooled import PooledBody, Texts, ignored, texts
from jaxserve.server.refusals import Refusal, is_empty
from jaxserve.server.request_id import request_id_of
from jaxserve.server.state import state_of
from jaxserve.server.vllm.pairs import score_pairs
from jaxserve.server.vllm.score import REFUSED as REFUSED_SCORES

REFUSED = (*REFUSED_SCORES, Refusal("rank_fields", "send documents as plain text", is_empty))


class Document(WireModel):
    """A text in an object, as Jina and Cohere have it."""

    text: Str


def _documents(value: Any) -> list[str]:
    """Texts, or objects that hold one."""
    if not isinstance(value, list):
        raise wrong_type("a list of strings or of objects with a text")
    return texts([item.get("text") if isinstance(item, dict) else item for item in value])


_READ_DOCUMENTS = BeforeValidator(_documents, json_schema_input_type=list[str | Document])


class RerankBody(PooledBody):
    """`top_n` 0 is all of them."""

    query: Str
    documents: Annotated[list[str], _READ_DOCUMENTS]
    top_n: Annotated[Int, Field(ge=0)] = 0
    return_documents: Bool = True


class RankTextsBody(PooledBody):
    """As text-embeddings-inference has it; `truncate` cuts to what the model reads."""

    query: Str
    texts: Texts
    raw_scores: Bool = False
    return_text: Bool = False
    truncate: Bool = False


async def rerank(request: Request) -> Response:
    """Rank documents by a query."""
    raw = await state_of(request).take_in(request)
    if raw.get("texts") is not None and raw.get("documents") is None:
        tell_errors_as(TGI, request.scope)
        return await _rank_texts(request, raw)
    body = parse_body(raw, RerankBody, REFUSED)
    model = state_of(request).model.resolve(body.model)
    pairs = [(body.query, document) for document in body.documents]
    headers = ignored(request, raw, RerankBody, judged=("rank_fields",))
    scores, answers = await score_pairs(request, pairs, body)
    best = _best_first(scores)[: body.top_n or None]
    results: list[dict[str, Any]] = []
    for index in best:
        result: dict[str, Any] = {"index": index, "relevance_score": scores[index]}
        if body.return_documents:
            result["document"] = {"text": body.documents[index]}
        results.append(result)
    answer = {
        "id": f"rerank-{request_id_of(request.scope)}",
        "model": model,
        "usage": answers.usage,
        "results": results,
    }
    return JSONBody(answer, headers=headers)


async def _rank_texts(request: Request, raw: dict[str, Any]) -> Response:
    body = parse_body(raw, RankTextsBody)
    state_of(request).model.resolve(body.model)
    if body.truncate and body.truncate_prompt_tokens is None:
        body = body.model_copy(update={"truncate_prompt_tokens": -1})
    pairs = [(body.query, text) for text in body.texts]
    headers = ignored(request, raw, RankTextsBody)
    scores, _ = await score_pairs(request, pairs, body, raw=body.raw_scores)
    ranks = [
        {"index": index, "score": scores[index]}
        | ({"text": body.texts[index]} if body.return_text else {})
        for index in _best_first(scores)
    ]
    return JSONBody(ranks, headers=headers)


def _best_first(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: -scores[index])
