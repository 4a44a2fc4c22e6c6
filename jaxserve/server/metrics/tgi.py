"""What would TGI call it? Its names, without labels of our own and without `_total`."""

from __future__ import annotations

from jaxserve.engine.histogram import BATCH_SIZES, GEOMETRIC_S, hundred_steps
from jaxserve.engine.metrics import StepKind
from jaxserve.engine.request import FinishReason
from jaxserve.server.metrics.exposition import Exposition
from jaxserve.server.metrics.measures import Measured, Refusal


def write_tgi(page: Exposition, measured: Measured) -> None:
    page.labels = {}
    _write_requests(page, measured)
    _write_distributions(page, measured)
    _write_batches(page, measured)


def _write_requests(page: Exposition, measured: Measured) -> None:
    refused, finished = measured.server.refused, measured.engine.stats.totals.finished
    failures = {
        "overloaded": refused[Refusal.OVERLOADED],
        "validation": refused[Refusal.VALIDATION],
        "template": refused[Refusal.TEMPLATE],
        "generation": finished[FinishReason.ERROR]
        + refused[Refusal.UNAVAILABLE]
        + refused[Refusal.INTERNAL],
        "dropped": finished[FinishReason.ABORT] + refused[Refusal.DROPPED],
        "incomplete": 0,  # a sequence here always ends with a reason
    }
    page.counter(
        "tgi_request_count",
        "Requests, refused ones included.",
        measured.engine.accepted + sum(refused.values()),
    )
    page.counter(
        "tgi_request_success",
        "Requests answered to their end.",
        finished[FinishReason.STOP] + finished[FinishReason.LENGTH],
    )
    page.counter(
        "tgi_request_failure",
        "Requests refused, failed or dropped.",
        [({"err": err}, count) for err, count in failures.items()],
    )


def _write_distributions(page: Exposition, measured: Measured) -> None:
    own, server = measured.engine.histograms, measured.server
    in_seconds = (
        ("duration", "From acceptance to the end.", own.total_s),
        ("validation_duration", "Parsing, templating, encoding.", server.validation_s),
        ("queue_duration", "From acceptance to the first step.", own.queue_s),
        ("inference_duration", "From the first step to the end.", own.inference_s),
        ("mean_time_per_token_duration", "Inference over output tokens.", own.time_per_token_s),
    )
    for name, told, histogram in in_seconds:
        page.histogram(f"tgi_request_{name}", told, GEOMETRIC_S, histogram)
    in_tokens = (
        ("input_length", "Tokens of the prompt.", own.prompt_tokens),
        ("generated_tokens", "Tokens of the output.", own.output_tokens),
        ("max_new_tokens", "Tokens the output could have had.", own.max_tokens),
        ("skipped_tokens", "Output tokens that were speculated.", own.drafted_tokens),
    )
    bounds = hundred_steps(measured.engine.sizes.max_model_len)
    for name, told, histogram in in_tokens:
        page.histogram(f"tgi_request_{name}", told, bounds, histogram)


def _write_batches(page: Exposition, measured: Measured) -> None:
    engine, sizes = measured.engine, measured.engine.sizes
    done = {kind: histogram.count for kind, histogram in engine.histograms.step_s.items()}
    failed = engine.failed_steps
    page.gauge("tgi_queue_size", "Requests that wait.", engine.stats.waiting)
    page.gauge("tgi_batch_current_size", "Requests that run.", engine.stats.running)
    page.gauge(
        "tgi_batch_current_max_tokens",
        "Tokens the running requests may have in the end.",
        engine.batch_max_tokens,
    )
    page.gauge(
        "tgi_batch_max_total_tokens",
        "Tokens the KV cache holds.",
        sizes.num_pages * sizes.page_size,
    )
    page.histogram(
        "tgi_batch_next_size",
        "Requests that join the batch, in steps where any does.",
        BATCH_SIZES,
        engine.histograms.step_admitted,
    )
    counts = (
        ("count", "Steps.", {kind: done[kind] + failed[kind] for kind in StepKind}),
        ("success", "Steps that were computed.", done),
        ("failure", "Steps that failed.", failed),
    )
    for name, told, by_kind in counts:
        series = [({"method": kind.value}, count) for kind, count in by_kind.items()]
        page.counter(f"tgi_batch_inference_{name}", told, series)
    # A batch's inference is its forward pass: what the host does runs beside it.
    durations = (
        ("inference", "Time of a step on the device.", engine.histograms.step_s),
        ("forward", "Time of a step on the device.", engine.histograms.step_s),
        ("decode", "Time to take in what a step drew.", engine.histograms.commit_s),
    )
    for name, told, histograms in durations:
        labelled = [({"method": kind.value}, h) for kind, h in histograms.items()]
        page.histogram(f"tgi_batch_{name}_duration", told, GEOMETRIC_S, labelled)
