"""What dashboards and autoscalers read is there, typed, labelled, and adds up.

The app stands on the real loop and scheduler over a FakeRunner.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.testclient import TestClient

from jaxserve.config import MetricsFamily, ServeConfig, ServerConfig
from jaxserve.engine.buckets import Buckets
from jaxserve.engine.loop import EngineLoop
from jaxserve.engine.metrics import AttentionInUse
from jaxserve.engine.pages import PagePool
from jaxserve.engine.scheduler import Scheduler
from jaxserve.generate import TextGenerator
from jaxserve.server.app import create_app
from jaxserve.server.metrics.page import FAMILIES
from jaxserve.text.formats.table import Formats
from tests.engine.fake_driver import request
from tests.fakes import FakeRunner, eager_speculator
from tests.server.apps import CHAT, MESSAGES, MODEL, TEXT, client, wait_until
from tests.text_fakes import EOS, ByteTokenizer, ScriptedEngine, limits

OWN = {"model_name"}
VLLM = {"model_name", "engine"}
KINDS = {"kind": {"prefill", "decode"}}
METHODS = {"method": {"prefill", "decode"}}
FINISHED = {"stop", "length", "abort", "error"}

# name on the wire, type, labels beside those of the family with all their values
EXPECTED: list[tuple[str, str, dict[str, set[str]]]] = [
    ("vllm:num_requests_running", "gauge", {}),
    ("vllm:num_requests_waiting", "gauge", {}),
    ("vllm:num_requests_waiting_by_reason", "gauge", {"reason": {"capacity", "deferred"}}),
    ("vllm:kv_cache_usage_perc", "gauge", {}),
    (
        "vllm:engine_sleep_state",
        "gauge",
        {"sleep_state": {"awake", "weights_offloaded", "discard_all"}},
    ),
    (
        "vllm:cache_config_info",
        "gauge",
        {"block_size": {"4"}, "num_gpu_blocks": {"64"}, "enable_prefix_caching": {"True"}},
    ),
    ("vllm:prompt_tokens_total", "counter", {}),
    ("vllm:generation_tokens_total", "counter", {}),
    (
        "vllm:prompt_tokens_by_source_total",
        "counter",
        {"source": {"local_compute", "local_cache_hit", "external_kv_transfer"}},
    ),
    ("vllm:prompt_tokens_cached_total", "counter", {}),
    ("vllm:request_success_total", "counter", {"finished_reason": FINISHED}),
    ("vllm:num_preemptions_total", "counter", {}),
    ("vllm:corrupted_requests_total", "counter", {}),
    ("vllm:prefix_cache_queries_total", "counter", {}),
    ("vllm:prefix_cache_hits_total", "counter", {}),
    ("vllm:time_to_first_token_seconds", "histogram", {}),
    ("vllm:inter_token_latency_seconds", "histogram", {}),
    ("vllm:request_time_per_output_token_seconds", "histogram", {}),
    ("vllm:e2e_request_latency_seconds", "histogram", {}),
    ("vllm:request_queue_time_seconds", "histogram", {}),
    ("vllm:request_prefill_time_seconds", "histogram", {}),
    ("vllm:request_decode_time_seconds", "histogram", {}),
    ("vllm:request_inference_time_seconds", "histogram", {}),
    ("vllm:request_prompt_tokens", "histogram", {}),
    ("vllm:request_generation_tokens", "histogram", {}),
    ("vllm:iteration_tokens_total", "histogram", {}),
    ("vllm:request_params_n", "histogram", {}),
    ("vllm:request_params_max_tokens", "histogram", {}),
    ("vllm:request_prefill_kv_computed_tokens", "histogram", {}),
    ("tgi_request_count", "counter", {}),
    ("tgi_request_success", "counter", {}),
    (
        "tgi_request_failure",
        "counter",
        {"err": {"overloaded", "validation", "incomplete", "template", "generation", "dropped"}},
    ),
    ("tgi_request_duration", "histogram", {}),
    ("tgi_request_validation_duration", "histogram", {}),
    ("tgi_request_inference_duration", "histogram", {}),
    ("tgi_request_queue_duration", "histogram", {}),
    ("tgi_request_mean_time_per_token_duration", "histogram", {}),
    ("tgi_request_generated_tokens", "histogram", {}),
    ("tgi_request_input_length", "histogram", {}),
    ("tgi_request_max_new_tokens", "histogram", {}),
    ("tgi_request_skipped_tokens", "histogram", {}),
    ("tgi_queue_size", "gauge", {}),
    ("tgi_batch_current_size", "gauge", {}),
    ("tgi_batch_current_max_tokens", "gauge", {}),
    ("tgi_batch_max_total_tokens", "gauge", {}),
    ("tgi_batch_next_size", "histogram", {}),
    ("tgi_batch_inference_count", "counter", METHODS),
    ("tgi_batch_inference_success", "counter", METHODS),
    ("tgi_batch_inference_failure", "counter", METHODS),
    ("tgi_batch_inference_duration", "histogram", METHODS),
    ("tgi_batch_forward_duration", "histogram", METHODS),
    ("tgi_batch_decode_duration", "histogram", METHODS),
    ("vllm:spec_decode_num_drafts_total", "counter", {}),
    ("vllm:spec_decode_num_draft_tokens_total", "counter", {}),
    ("vllm:spec_decode_num_accepted_tokens_total", "counter", {}),
    ("jaxserve_drafts_total", "counter", {}),
    ("jaxserve_draft_tokens_total", "counter", {}),
    ("jaxserve_accepted_tokens_total", "counter", {}),
    ("jaxserve_requests_accepted_total", "counter", {}),
    ("jaxserve_requests_finished_total", "counter", {"reason": FINISHED}),
    (
        "jaxserve_requests_refused_total",
        "counter",
        {
            "reason": {
                "validation",
                "template",
                "overloaded",
                "unavailable",
                "dropped",
                "internal",
            }
        },
    ),
    ("jaxserve_requests_running", "gauge", {}),
    ("jaxserve_requests_waiting", "gauge", {}),
    ("jaxserve_predicted_wait_seconds", "gauge", {}),
    ("jaxserve_engine_alive", "gauge", {}),
    ("jaxserve_engine_stalled_seconds", "gauge", {}),
    ("jaxserve_draining", "gauge", {}),
    ("jaxserve_kv_pages", "gauge", {"state": {"used", "cached", "free"}}),
    ("jaxserve_attention_info", "gauge", {"backend": {"xla"}, "fallback": {"faulty"}}),
    ("jaxserve_compilations_after_ready_total", "counter", {}),
    ("jaxserve_discarded_tokens_total", "counter", {}),
    ("jaxserve_nonfinite_logits_total", "counter", {}),
    ("jaxserve_request_first_token_seconds", "histogram", {}),
    ("jaxserve_step_seconds", "histogram", KINDS),
    ("jaxserve_step_rows", "histogram", KINDS),
]


@dataclass
class Scrape:
    """The types by declared name, and what the parser of prometheus_client finds."""

    types: dict[str, str]
    samples: list[Sample]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels."""
        matching = [
            s for s in self.samples if s.name == name and labels.items() <= s.labels.items()
        ]
        assert matching, f"no {name} with {labels}"
        return sum(s.value for s in matching)


@dataclass
class Served:
    """An app and what stands behind it."""

    client: TestClient
    loop: EngineLoop
    runner: FakeRunner

    def scrape(self) -> Scrape:
        response = self.client.get("/metrics")
        assert response.status_code == 200
        parsed = [s for f in text_string_to_metric_families(response.text) for s in f.samples]
        # The parser gives every counter a _total; only the wire says what a dashboard can ask for.
        names = re.findall(r"^([a-z0-9_:]+)[{ ]", response.text, re.M)
        samples = [s._replace(name=name) for s, name in zip(parsed, names, strict=True)]
        return Scrape(dict(re.findall(r"^# TYPE (\S+) (\S+)$", response.text, re.M)), samples)

    def ask(self, **body: Any) -> Any:
        return self.client.post(TEXT, json={"prompt": "hello there", "max_tokens": 5} | body)

    def at_rest(self) -> Scrape:
        wait_until(lambda: _unfinished(self.loop) == 0)
        return self.scrape()


def _unfinished(loop: EngineLoop) -> int:
    stats = loop.stats()
    return stats.running + stats.waiting


@contextmanager
def serving(*, max_queued: int = 64, num_draft_tokens: int = 0, **config: Any) -> Iterator[Served]:
    buckets = Buckets.build(max_rows=4, token_budget=32, num_draft_tokens=num_draft_tokens)
    scheduler = Scheduler(
        PagePool(64, 4, prefix_cache=True),
        limits=limits(max_model_len=200, max_queued_requests=max_queued),
        max_batch_size=4,
        token_budget=32,
        speculator=eager_speculator(buckets, num_draft_tokens),
    )
    runner = FakeRunner(4, vocab_size=ByteTokenizer.vocab_size, eos_token_id=EOS)
    runner.next_token = lambda history: ord("a") + len(history) % 26
    loop = EngineLoop(scheduler, runner, attention=AttentionInUse("xla", "faulty"))
    app = create_app(
        TextGenerator(loop, ByteTokenizer()),
        model=MODEL,
        config=ServeConfig(server=ServerConfig(**config)),
        engine=loop,
        generation_config={},
        formats=Formats(),
    )
    try:
        with TestClient(app) as test_client:
            yield Served(test_client, loop, runner)
    finally:
        runner.gate.set()
        loop.stop(5.0)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture(scope="module")
def idle() -> Iterator[Scrape]:
    with serving() as one:
        yield one.scrape()


@pytest.mark.parametrize(
    ("name", "type_", "labels"), EXPECTED, ids=[name for name, _, _ in EXPECTED]
)
def test_a_metric_is_there_before_the_first_request(
    idle: Scrape, name: str, type_: str, labels: dict[str, set[str]]
) -> None:
    assert idle.types[name] == type_
    common = VLLM if name.startswith("vllm:") else OWN if name.startswith("jaxserve_") else set()
    suffix = "_count" if type_ == "histogram" else ""
    found = [s.labels for s in idle.samples if s.name == name + suffix]
    assert found
    assert all(set(labelled) == common | set(labels) for labelled in found)
    assert all(labelled.get("model_name", "tiny") == "tiny" for labelled in found)
    assert {key: {labelled[key] for labelled in found} for key in labels} == labels


def test_every_counter_begins_at_0(idle: Scrape) -> None:
    ours = [s for s in idle.samples if not s.name.startswith(("http_", "process_"))]
    gauges = {name for name, type_ in idle.types.items() if type_ == "gauge"}
    assert {s.value for s in ours if s.name not in gauges} == {0}


def test_the_page_is_text_at_one_exact_path_without_a_key() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        response = c.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert c.head("/metrics").status_code == 200
        moved = c.get("/metrics/", headers={"authorization": "Bearer k"}, follow_redirects=False)
        assert moved.status_code == 404


@pytest.mark.parametrize("chosen", get_args(MetricsFamily))
def test_one_vocabulary_can_be_chosen(chosen: str) -> None:
    with serving(metrics_family=(chosen,)) as one:
        one.ask()
        names = one.scrape().types
    prefixes = {"tgi": "tgi_", "vllm": "vllm:", "jaxserve": "jaxserve_"}
    found = {family for family, prefix in prefixes.items() for n in names if n.startswith(prefix)}
    assert found == {chosen}
    assert "http_requests_total" in names
    assert "process_resident_memory_bytes" in names


def test_every_vocabulary_of_the_config_can_be_written() -> None:
    assert set(FAMILIES) == set(get_args(MetricsFamily))


def test_at_rest_what_was_accepted_has_ended_and_gauges_are_0(served: Served) -> None:
    assert served.ask().status_code == 200
    assert served.ask(n=3, max_tokens=9).status_code == 200
    assert served.ask(stop="n").json()["choices"][0]["finish_reason"] == "stop"
    assert served.ask(max_tokens=0, n="x").status_code == 400
    assert served.client.post(CHAT, json={"messages": [{"role": "judge"}]}).status_code == 400
    rest = served.at_rest()
    accepted = rest.value("jaxserve_requests_accepted_total")
    assert accepted == 5 == rest.value("jaxserve_requests_finished_total")
    assert rest.value("jaxserve_requests_refused_total", reason="validation") == 1
    assert rest.value("jaxserve_requests_refused_total", reason="template") == 1
    failures = rest.value("tgi_request_failure")
    assert rest.value("tgi_request_count") == rest.value("tgi_request_success") + failures == 7
    for gauge in ("tgi_queue_size", "tgi_batch_current_size", "tgi_batch_current_max_tokens"):
        assert rest.value(gauge) == 0
    for gauge in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert rest.value(f"vllm:{gauge}") == 0
    assert rest.value("jaxserve_kv_pages", state="used") == 0
    assert rest.value("jaxserve_kv_pages") == 64


def test_every_histogram_of_requests_has_each_once(served: Served) -> None:
    served.ask(max_tokens=4)
    served.ask(max_tokens=6, n=2)
    rest = served.at_rest()
    for name in ("e2e_request_latency_seconds", "time_to_first_token_seconds"):
        assert rest.value(f"vllm:{name}_count") == 3
    for name in ("request_queue_time", "request_prefill_time", "request_inference_time"):
        assert rest.value(f"vllm:{name}_seconds_count") == 3
    for name in ("duration", "queue_duration", "generated_tokens", "skipped_tokens"):
        assert rest.value(f"tgi_request_{name}_count") == 3
    assert rest.value("vllm:request_generation_tokens_sum") == 4 + 6 + 6
    assert rest.value("vllm:generation_tokens_total") == 16
    assert rest.value("vllm:inter_token_latency_seconds_count") == 16 - 3
    assert rest.value("vllm:request_params_n_sum") == 3
    assert rest.value("tgi_request_validation_duration_count") == 2
    assert rest.value("tgi_request_skipped_tokens_sum") == 0  # nothing is speculated


def test_what_is_speculated_is_counted_in_every_vocabulary() -> None:
    with serving() as plain, serving(num_draft_tokens=3) as drafted:
        expected, got = (one.ask(max_tokens=90).json() for one in (plain, drafted))
        drafted.ask(max_tokens=90, stream=True)
        rest = drafted.at_rest()
    assert got["choices"] == expected["choices"]
    accepted = rest.value("jaxserve_accepted_tokens_total")
    assert 60 < accepted <= rest.value("jaxserve_draft_tokens_total")
    assert rest.value("jaxserve_generation_tokens_total") == 180
    assert rest.value("vllm:spec_decode_num_accepted_tokens_total") == accepted
    assert rest.value("vllm:spec_decode_num_accepted_tokens_per_pos_total") == accepted
    assert rest.value("tgi_request_skipped_tokens_sum") == accepted
    for name in ("drafts", "draft_tokens"):
        ours = rest.value(f"jaxserve_{name}_total")
        assert rest.value(f"vllm:spec_decode_num_{name}_total") == ours > 0


def test_a_stop_string_counts_as_stop(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    collect = served.runner.collect

    def collect_slowly(handle: Any) -> Any:
        time.sleep(0.005)  # else all 60 tokens are drawn before the abort arrives
        return collect(handle)

    monkeypatch.setattr(served.runner, "collect", collect_slowly)
    answer = served.ask(stop="qrs", max_tokens=60).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    rest = served.at_rest()
    assert rest.value("vllm:request_success_total", finished_reason="stop") == 1
    assert rest.value("vllm:request_success_total", finished_reason="abort") == 0
    assert rest.value("tgi_request_success") == 1


def test_a_full_queue_is_overload_with_a_predicted_wait() -> None:
    with serving(max_queued=1) as served:
        served.runner.gate.clear()
        for index in range(5):
            served.loop.submit(request(f"r{index}", [1, 2, 3]))
        refused = served.ask()
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        scrape = served.scrape()
        assert scrape.value("tgi_request_failure", err="overloaded") == 1
        assert scrape.value("jaxserve_predicted_wait_seconds") > 0


def test_the_page_comes_while_the_device_hangs(served: Served) -> None:
    served.runner.gate.clear()
    served.loop.submit(request("a", [1, 2, 3]))
    wait_until(lambda: served.loop.stats().running == 1)
    scrape = served.scrape()
    assert scrape.value("vllm:num_requests_running") == 1
    assert scrape.value("tgi_batch_current_max_tokens") == 3 + 8
    assert scrape.value("jaxserve_engine_alive") == 1


def test_draining_shows(served: Served) -> None:
    served.client.app.state.server.draining = True  # type: ignore[attr-defined]
    assert served.client.post(CHAT, json={"messages": MESSAGES}).status_code == 503
    scrape = served.scrape()
    assert scrape.value("jaxserve_draining") == 1
    assert scrape.value("jaxserve_requests_refused_total", reason="unavailable") == 1
    assert scrape.value("tgi_request_failure", err="generation") == 1
