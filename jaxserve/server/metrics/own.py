"""What do we call it? The glossary's words, labelled with the model's name."""

from __future__ import annotations

from jaxserve.engine.histogram import BATCH_SIZES, FIRST_TOKEN_S, one_two_five
from jaxserve.server.metrics.exposition import Exposition
from jaxserve.server.metrics.measures import Measured
from jaxserve.version import __version__


def write_own(page: Exposition, measured: Measured) -> None:
    page.labels = {"model_name": measured.model_name}
    _write_gauges(page, measured)
    _write_counters(page, measured)
    _write_requests(page, measured)
    _write_steps(page, measured)


def _write_gauges(page: Exposition, measured: Measured) -> None:
    engine, stats, sizes = measured.engine, measured.engine.stats, measured.engine.sizes
    num_free = stats.total_pages - stats.used_pages - stats.cached_pages
    page.gauge("jaxserve_version_info", "Which version this is.", [({"version": __version__}, 1)])
    for name, told, value in (
        ("engine_alive", "1 while the engine's thread runs.", int(engine.health.alive)),
        ("engine_stalled_seconds", "Work without a finished step.", engine.health.stalled_s),
        ("draining", "1 once the server takes no new work.", int(measured.draining)),
        ("requests_running", "Requests that hold a slot.", stats.running),
        ("requests_waiting", "Requests that wait for a slot.", stats.waiting),
        ("predicted_wait_seconds", "The wait of one more request.", engine.predicted_wait_s),
        ("slots", "Most requests that run at once.", sizes.max_batch_size),
        ("page_size_tokens", "Tokens in a page of the KV cache.", sizes.page_size),
    ):
        page.gauge(f"jaxserve_{name}", told, value)
    if engine.attention is not None:
        labels = {"backend": engine.attention.backend, "fallback": engine.attention.fallback}
        told = "What computes attention; a fallback is xla in place of the platform's own."
        page.gauge("jaxserve_attention_info", told, [(labels, 1)])
    states = {"used": stats.used_pages, "cached": stats.cached_pages, "free": num_free}
    page.gauge(
        "jaxserve_kv_pages",
        "Pages of the KV cache: held by requests, findable by content, free.",
        [({"state": state}, count) for state, count in states.items()],
    )


def _write_counters(page: Exposition, measured: Measured) -> None:
    totals, engine = measured.engine.stats.totals, measured.engine
    for name, told, count in (
        ("requests_accepted", "Sequences the engine took.", engine.accepted),
        ("prompt_tokens", "Prompt tokens of admitted requests.", totals.prompt_tokens),
        ("prefix_hit_tokens", "Of those, found computed.", totals.prefix_hit_tokens),
        ("generation_tokens", "Tokens drawn.", totals.generation_tokens),
        ("discarded_tokens", "Computed after a request's end.", totals.discarded_tokens),
        ("drafts", "Guesses of a row's next tokens that were verified.", totals.drafts),
        ("draft_tokens", "Tokens in them.", totals.draft_tokens),
        ("accepted_tokens", "Those that were right.", totals.accepted_tokens),
        ("preemptions", "Requests put back into the queue.", totals.preemptions),
        ("nonfinite_logits", "Requests ended by NaN or infinity.", totals.not_finite),
        ("compilations_after_ready", "Should stay 0.", engine.compiled_after_ready),
    ):
        page.counter(f"jaxserve_{name}_total", told, count)
    page.counter(
        "jaxserve_requests_finished_total",
        "Sequences that ended; accepted ones that have not, run or wait.",
        [({"reason": reason.value}, count) for reason, count in totals.finished.items()],
    )
    page.counter(
        "jaxserve_requests_refused_total",
        "Requests the engine never got.",
        [({"reason": reason.value}, n) for reason, n in measured.server.refused.items()],
    )


def _write_requests(page: Exposition, measured: Measured) -> None:
    own = measured.engine.histograms
    for name, told, histogram in (
        ("request_validation", "Parsing, templating, encoding.", measured.server.validation_s),
        ("request_queue", "Acceptance to first step.", own.queue_s),
        ("request_prefill", "First step to first token.", own.prefill_s),
        ("request_first_token", "Acceptance to first token.", own.first_token_s),
        ("request_decode", "First token to end.", own.decode_s),
        ("request_total", "Acceptance to end.", own.total_s),
        ("inter_token", "From a token to the next.", own.inter_token_s),
    ):
        page.histogram(f"jaxserve_{name}_seconds", told, FIRST_TOKEN_S, histogram)
    bounds = one_two_five(measured.engine.sizes.max_model_len)
    for name, told, histogram in (
        ("prompt", "Tokens of the prompt.", own.prompt_tokens),
        ("prefix_hit", "Prompt tokens found computed.", own.cached_tokens),
        ("output", "Tokens drawn.", own.output_tokens),
    ):
        page.histogram(f"jaxserve_request_{name}_tokens", told, bounds, histogram)


def _write_steps(page: Exposition, measured: Measured) -> None:
    own = measured.engine.histograms
    for name, told, bounds, histograms in (
        ("step_seconds", "Time of a step on the device.", FIRST_TOKEN_S, own.step_s),
        ("step_commit_seconds", "Host time after a step.", FIRST_TOKEN_S, own.commit_s),
        ("step_rows", "Requests in a step.", BATCH_SIZES, own.step_rows),
    ):
        labelled = [({"kind": kind.value}, histogram) for kind, histogram in histograms.items()]
        page.histogram(f"jaxserve_{name}", told, bounds, labelled)
