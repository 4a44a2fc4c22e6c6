"""How alike are two texts? By a classifier that reads both, or by the vectors of each."""

from __future__ import annotations

from collections.abc import Sequence as Many

from starlette.requests import Request

from jaxserve.errors import InvalidRequest
from jaxserve.pooling import TextPooler
from jaxserve.server.pooled import Answers, PooledBody, run
from jaxserve.server.state import state_of
from jaxserve.text.vectors import score, similarity

Pair = tuple[str, str]


async def score_pairs(
    request: Request, pairs: Many[Pair], body: PooledBody, *, raw: bool = False
) -> tuple[list[float], Answers]:
    """A score per pair, and what was read for it; `raw` asks for a classifier's logits.

    Raises InvalidRequest for a model that has several labels.
    """
    pooler = state_of(request).pooler
    if pooler.model.task == "embed":
        return await _by_vectors(request, pooler, pairs, body)
    if pooler.model.num_outputs != 1:
        raise InvalidRequest(
            f"the model served here has {pooler.model.num_outputs} labels and gives no score; use "
            "/classify",
            param="model",
            code="unsupported_value",
        )
    cut = body.cut(pooler)
    sequences = [await pooler.encode_pair(*pair, cut=cut) for pair in pairs]
    answers = await run(request, sequences)
    logits = [float(vector[0]) for vector in answers.vectors]
    if raw:
        return logits, answers
    return [score(logit, pooler.model.facts) for logit in logits], answers


async def _by_vectors(
    request: Request, pooler: TextPooler, pairs: Many[Pair], body: PooledBody
) -> tuple[list[float], Answers]:
    """Each text is read once, in however many pairs it is."""
    cut = body.cut(pooler)
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    sequences = [await pooler.encode(text, cut=cut, param="documents") for text in texts]
    answers = await run(request, sequences)
    vectors = dict(zip(texts, answers.vectors, strict=True))
    kind = pooler.model.facts.similarity
    return [similarity(vectors[a], vectors[b], kind) for a, b in pairs], answers
