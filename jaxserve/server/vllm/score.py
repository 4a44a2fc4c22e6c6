"""How do POST /score and /v1/score answer? A score for each pair of texts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jaxserve.errors import InvalidRequest
from jaxserve.server.bodies import JSONBody
from jaxserve.server.parsing import parse_body
from jaxserve.server.pooled import PooledBody, Texts, framed, ignored
from jaxserve.server.refusals import Refusal
from jaxserve.server.state import state_of
from jaxserve.server.vllm.pairs import Pair, score_pairs

_CUT = "use truncate_prompt_tokens, which cuts both texts together"
REFUSED = (
    Refusal("max_tokens_per_query", _CUT),
    Refusal("max_tokens_per_doc", _CUT),
    Refusal("instruction", "put it into the texts"),
)
NAMES = (("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"))


class ScoreBody(PooledBody):
    """The body of POST /score: one of four pairs of names."""

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None

    def pairs(self) -> list[Pair]:
        """One text with each of several, or each with its counterpart."""
        given = [both for both in NAMES if all(getattr(self, name) is not None for name in both)]
        if len(given) != 1:
            told = "; ".join(" and ".join(both) for both in NAMES)
            raise InvalidRequest(
                f"the body must have two lists of texts, named one of: {told}",
                param="queries",
                code="missing_required_parameter",
            )
        ones, others = (getattr(self, name) for name in given[0])
        if len(ones) == 1:
            ones = ones * len(others)
        if len(ones) != len(others):
            raise InvalidRequest(
                f"{given[0][0]} has {len(ones)} texts and {given[0][1]} {len(others)}; give one or "
                "as many",
                param=given[0][0],
            )
        return list(zip(ones, others, strict=True))


async def score(request: Request) -> Response:
    """Score pairs of texts."""
    raw = await state_of(request).take_in(request)
    body = parse_body(raw, ScoreBody, REFUSED)
    model = state_of(request).model.resolve(body.model)
    headers = ignored(request, raw, ScoreBody)
    scores, answers = await score_pairs(request, body.pairs(), body)
    data = [
        {"index": index, "object": "score", "score": value} for index, value in enumerate(scores)
    ]
    answer = framed(request, "score", model, data) | {"usage": answers.usage}
    return JSONBody(answer, headers=headers)
