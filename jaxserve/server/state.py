"""What do the routes of one app share? The generator, the model's names, and whether it can serve.

Made once per app and reached through the request. What changes is `draining`, `in_flight` and what
is measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request

from jaxserve.config import ApiConfig, ServeConfig, TgiConfig
from jaxserve.engine.metrics import EngineHealth, EngineMetrics
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
from jaxserve.text.grammar import Grammar, GrammarWish

STALL_LIMIT_S = 60.0
PURPOSES = {
    "embed": "it embeds texts; use /v1/embeddings, /score or /rerank",
    "classify": "it scores or classifies texts; use /classify, /score or /rerank",
}
BEGAN_S = "jaxserve.began_s"  # in the scope until the engine has the request


class EngineView(Protocol):
    """The engine below the text side, as the routes about the server itself see it.

    Nothing here waits for a step; `reset_prefix_cache` holds for requests that come after it.
    """

    def health(self) -> EngineHealth: ...
    def metrics(self) -> EngineMetrics: ...
    def reset_prefix_cache(self) -> None: ...


class Profiler(Protocol):
    """Traces the devices' work into a folder, one trace at a time; raises InvalidRequest."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class ServerState:
    """`draining` is set by whoever stops the server: from then on new work is refused.

    `in_flight` are the answers that some client still waits for.
    """

    text: TextGenerator | TextPooler
    model: ModelInfo
    defaults: SamplingDefaults
    config: ServeConfig
    engine: EngineView
    measures: ServerMeasures
    metrics_page: MetricsPage
    rows: tuple[Row, ...]
    formats: AnswerFormats
    profiler: Profiler | None = None
    draining: bool = False
    in_flight: set[object] = field(default_factory=set)

    @property
    def api(self) -> ApiConfig:
        return self.config.api

    @property
    def tgi(self) -> TgiConfig:
        return self.config.tgi

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
        health = self.engine.health()
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

        Raises ContextLengthExceeded for `param`, the prompt, or for what was asked, unless the
        server cuts that too.
        """
        if asked is not None and not self.api.clamp_max_tokens:
            return self.generator.max_tokens_for(num_prompt_tokens, asked, param=param)
        fitting = self.generator.max_tokens_for(num_prompt_tokens, None, param=param)
        if asked is not None:
            return min(fitting, asked)
        defaults = (self.defaults.max_new_tokens or by_api, self.api.default_max_tokens)
        return min(fitting, *(most for most in defaults if most is not None), fitting)

    async def compile_grammar(self, wish: GrammarWish, *, param: str) -> Grammar:
        """The form to hold an output to; raises InvalidRequest about `param`, EngineBusy."""
        if not self.api.grammar_support:
            raise InvalidRequest(
                f"{param} asks to hold the output to a form, and this server was started without "
                "support for grammars; leave it out",
                param=param,
                code="unsupported_parameter",
            )
        return await self.generator.compile_grammar(wish, param=param)


def state_of(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state
