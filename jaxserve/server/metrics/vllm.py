"""What would vLLM call it? Its names, labelled with the model's name and the engine's number."""

from __future__ import annotations

from jaxserve.engine.histogram import (
    FIRST_TOKEN_S,
    PER_TOKEN_S,
    REQUEST_S,
    one_two_five,
)
from jaxserve.server.metrics.exposition import Exposition
from jaxserve.server.metrics.measures import SAMPLES, Measured


def write_vllm(page: Exposition, measured: Measured) -> None:
    page.labels = {"model_name": measured.model_name, "engine": "0"}
    _write_gauges(page, measured)
    _write_counters(page, measured)
    _write_seconds(page, measured)
    _write_tokens(page, measured)


def _write_gauges(page: Exposition, measured: Measured) -> None:
    stats, sizes = measured.engine.stats, measured.engine.sizes
    page.gauge("vllm:num_requests_running", "Requests that run.", stats.running)
    page.gauge("vllm:num_requests_waiting", "Requests that wait.", stats.waiting)
    page.gauge(
        "vllm:num_requests_waiting_by_reason",
        "Requests that wait, by what they wait for.",
        [({"reason": "capacity"}, stats.waiting), ({"reason": "deferred"}, 0)],
    )
    page.gauge(
        "vllm:kv_cache_usage_perc",
        "Share of the KV cache that requests hold; 1 is all of it.",
        stats.used_pages / max(stats.total_pages, 1),  # a model that embeds has none
    )
    states = {"awake": 1, "weights_offloaded": 0, "discard_all": 0}
    page.gauge(
        "vllm:engine_sleep_state",
        "1 for the state the engine is in; this one is always awake.",
        [({"sleep_state": state}, value) for state, value in states.items()],
    )
    facts = {
        "block_size": str(sizes.page_size),
        "num_gpu_blocks": str(sizes.num_pages),
        "enable_prefix_caching": str(sizes.prefix_cache),
    }
    page.gauge("vllm:cache_config_info", "Sizes of the KV cache.", [(facts, 1)])


def _write_counters(page: Exposition, measured: Measured) -> None:
    totals, sizes = measured.engine.stats.totals, measured.engine.sizes
    queried = totals.prompt_tokens if sizes.prefix_cache else 0
    computed = totals.prompt_tokens - totals.prefix_hit_tokens
    counts = (
        ("prompt_tokens", "Prompt tokens.", totals.prompt_tokens),
        ("prompt_tokens_cached", "Prompt tokens not computed.", totals.prefix_hit_tokens),
        ("generation_tokens", "Output tokens.", totals.generation_tokens),
        ("num_preemptions", "Requests put back into the queue.", totals.preemptions),
        ("corrupted_requests", "Requests with logits not finite.", totals.not_finite),
        ("prefix_cache_queries", "Prompt tokens looked up.", queried),
        ("prefix_cache_hits", "Prompt tokens found.", totals.prefix_hit_tokens),
        ("spec_decode_num_drafts", "Drafts verified.", totals.drafts),
        ("spec_decode_num_draft_tokens", "Tokens in them.", totals.draft_tokens),
        ("spec_decode_num_accepted_tokens", "Those that were right.", totals.accepted_tokens),
    )
    for name, told, count in counts:
        page.counter(f"vllm:{name}_total", told, count)
    if sizes.num_draft_tokens:
        page.counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos_total",
            "Right tokens of drafts by their place.",
            [
                ({"position": str(place)}, totals.accepted_at.get(place, 0))
                for place in range(sizes.num_draft_tokens)
            ],
        )
    sources = {
        "local_compute": computed,
        "local_cache_hit": totals.prefix_hit_tokens,
        "external_kv_transfer": 0,
    }
    page.counter(
        "vllm:prompt_tokens_by_source_total",
        "Prompt tokens by where their KV came from.",
        [({"source": source}, count) for source, count in sources.items()],
    )
    page.counter(
        "vllm:request_success_total",
        "Requests that ended, by reason.",
        [({"finished_reason": r.value}, count) for r, count in totals.finished.items()],
    )


def _write_seconds(page: Exposition, measured: Measured) -> None:
    own = measured.engine.histograms
    for name, told, bounds, histogram in (
        ("time_to_first_token", "Acceptance to first token.", FIRST_TOKEN_S, own.first_token_s),
        ("inter_token_latency", "From a token to the next.", PER_TOKEN_S, own.inter_token_s),
        (
            "request_time_per_output_token",
            "Mean time of the tokens after the first.",
            PER_TOKEN_S,
            own.time_per_next_token_s,
        ),
        ("e2e_request_latency", "Acceptance to end.", REQUEST_S, own.total_s),
        ("request_queue_time", "Acceptance to first step.", REQUEST_S, own.queue_s),
        ("request_prefill_time", "First step to first token.", REQUEST_S, own.prefill_s),
        ("request_decode_time", "First token to end.", REQUEST_S, own.decode_s),
        ("request_inference_time", "First step to end.", REQUEST_S, own.inference_s),
    ):
        page.histogram(f"vllm:{name}_seconds", told, bounds, histogram)


def _write_tokens(page: Exposition, measured: Measured) -> None:
    own, sizes = measured.engine.histograms, measured.engine.sizes
    bounds, step_bounds = one_two_five(sizes.max_model_len), one_two_five(sizes.max_step_tokens)
    for name, told, histogram in (
        ("request_prompt_tokens", "Tokens of the prompt.", own.prompt_tokens),
        ("request_generation_tokens", "Tokens of the output.", own.output_tokens),
        ("request_params_max_tokens", "Most tokens of output asked for.", own.max_tokens),
        ("request_prefill_kv_computed_tokens", "Prompt tokens computed.", own.computed_tokens),
    ):
        page.histogram(f"vllm:{name}", told, bounds, histogram)
    page.histogram("vllm:iteration_tokens_total", "Tokens in a step.", step_bounds, own.step_tokens)
    samples = measured.server.samples
    page.histogram("vllm:request_params_n", "Samples asked for.", SAMPLES, samples)
