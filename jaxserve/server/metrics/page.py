"""What does the metrics page say? The vocabularies that were chosen, HTTP, and the process.

Waits for nothing: the engine's measurements are copied under a lock that is never held while the
device is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from jaxserve.config import MetricsFamily
from jaxserve.engine.metrics import EngineMetrics
from jaxserve.server.metrics.exposition import Exposition
from jaxserve.server.metrics.http import write_http
from jaxserve.server.metrics.measures import Measured, ServerMeasures
from jaxserve.server.metrics.own import write_own
from jaxserve.server.metrics.tgi import write_tgi
from jaxserve.server.metrics.vllm import write_vllm

FAMILIES: Mapping[MetricsFamily, Callable[[Exposition, Measured], None]] = {
    "tgi": write_tgi,
    "vllm": write_vllm,
    "jaxserve": write_own,
}


class MetricsPage:
    """`families` empty means all of them."""

    def __init__(
        self,
        families: Sequence[MetricsFamily],
        *,
        model_name: str,
        engine_metrics: Callable[[], EngineMetrics],
        server: ServerMeasures,
    ) -> None:
        self._families = [w for name, w in FAMILIES.items() if not families or name in families]
        self._model_name = model_name
        self._engine_metrics = engine_metrics
        self._server = server
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def text(self, *, draining: bool) -> str:
        measured = Measured(
            model_name=self._model_name,
            engine=self._engine_metrics(),
            server=self._server,
            draining=draining,
        )
        page = Exposition()
        for write in (*self._families, write_http):
            write(page, measured)
        return page.text() + generate_latest(self._process).decode()
