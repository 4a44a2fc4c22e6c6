"""What do the routes of one app share? The generator, the model's names, and whether it can serve.

Made once per app and reached through the request. What changes is `draining`, `in_flight` and what
is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from jaxserve.config import TgiConfig
from jaxserve.engine.metrics import EngineHealth
from jaxserve.errors import InvalidRequest
from jaxserve.generate import TextGenerator
from jaxserve.pooling import TextPooler
from jaxserve.server.bodies import read_object
from jaxserve.server.errors import Draining
from jaxserve.server.metrics.measures import ServerMeasures
from jaxserve.server.metrics.page import MetricsPage
from jaxserve.server.models import ModelInfo
from jaxserve.server.row import Row
from jaxserve.server.sampling import SamplingDefaults
from jaxserve.text.calls.reader import AnswerFormats

STALL_LIMIT_S = 60.0
PURPOSES = {
    "embed": "it embeds texts; use /v1/embeddings, /score or /rerank",
    "classify": "it scores or classifies texts; use /classify, /score or /rerank",
}
BEGAN_S = "jaxserve.began_s"  # in the scope until the engine has the request


@dataclass(slots=True, kw_only=True)
class ServerState:
    """`draining` is set by whoever stops the server: from then on new work is refused.

    `in_flight` are the answers that some client still waits for.
    """

    text: TextGenerator | TextPooler
    model: ModelInfo
    defaults: SamplingDefaults
    engine_health: Callable[[], EngineHealth]
    measures: ServerMeasures
    metrics_page: MetricsPage
    rows: tuple[Row, ...]
    formats: AnswerFormats
    tgi: TgiConfig = field(default_factory=TgiConfig)
    lora_routes: bool = False  # clients may load adapters
    strict: bool = False  # a field that has no effect is refused
    draining: bool = False
    in_flight: set[object] = field(default_factory=set)

    @property
    def generator(self) -> TextGenerator:
        """What generates text; raises InvalidRequest where the model is for something else."""
        if isinstance(self.text, TextGenerator):
            return self.text
        raise InvalidRequest(
            f"the model served here does not generate text: {PURPOSES[self.model.task]}",
            param="model",
            code="unsupported_value",
        )

    @property
    def pooler(self) -> TextPooler:
        """What embeds or classifies; raises InvalidRequest where the model generates text."""
        if isinstance(self.text, TextPooler):
            return self.text
        raise InvalidRequest(
            "the model served here generates text and has no embedding head and no labels; start "
            "the server with a model that embeds, scores or classifies",
            param="model",
            code="unsupported_value",
        )

    def problem(self) -> str | None:
        """Why the server should get no traffic, or None. Never waits for the engine."""
        if self.draining:
            return "the server is shutting down"
        health = self.engine_health()
        if not health.alive:
            return f"the engine has stopped: {health.failure or 'it was closed'}"
        if health.stalled_s > STALL_LIMIT_S:
            return f"the engine has finished no step for {health.stalled_s:.0f} s"
        return None

    async def take_in(self, request: Request) -> dict[str, Any]:
        """The body of a request for new work; raises Draining when none is taken."""
        if self.draining:
            raise Draining("the server is shutting down and takes no new requests; try another")
        raw = await read_object(request)
        request.scope[BEGAN_S] = time.monotonic()
        return raw

    def max_tokens(
        self, num_prompt_tokens: int, asked: int | None, *, by_api: int | None, param: str
    ) -> int:
        """How long the output may get. What was not asked for is cut to what the context has left.

        Raises ContextLengthExceeded for `param`, the prompt, or for what was asked.
        """
        fitting = self.generator.max_tokens_for(num_prompt_tokens, asked, param=param)
        default = self.defaults.max_new_tokens or by_api
        return fitting if asked is not None or default is None else min(fitting, default)


def state_of(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state
