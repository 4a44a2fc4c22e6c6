"""The text that Prometheus reads, checked with the parser of prometheus_client."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from jaxserve.engine.histogram import Histogram
from jaxserve.server.metrics.exposition import Exposition


def read(page: Exposition) -> dict[str, tuple[str, dict[tuple[str, ...], float]]]:
    return {
        family.name: (
            family.type,
            {(s.name, *sorted(s.labels.values())): s.value for s in family.samples},
        )
        for family in text_string_to_metric_families(page.text())
    }


def test_a_counter_keeps_its_name() -> None:
    page = Exposition()
    page.counter("tgi_request_count", "Requests.", 5)
    assert page.text().splitlines() == [
        "# HELP tgi_request_count Requests.",
        "# TYPE tgi_request_count counter",
        "tgi_request_count 5",
    ]


def test_labels_of_the_page_are_on_every_sample() -> None:
    page = Exposition()
    page.labels = {"model_name": "m"}
    page.gauge("a", "A.", [({"x": "1"}, 0.5), ({"x": "2"}, 2)])
    assert read(page)["a"] == ("gauge", {("a", "1", "m"): 0.5, ("a", "2", "m"): 2.0})


def test_odd_label_values_survive() -> None:
    page, odd = Exposition(), 'C:\\new "model"\nname'
    page.labels = {"model_name": odd}
    page.gauge("a", "A.", 1)
    assert read(page)["a"] == ("gauge", {("a", odd): 1})


def test_a_histogram_is_cumulative_at_the_bounds_asked_for() -> None:
    histogram = Histogram((0.5, 1.0, 2.0))
    for value in (0.1, 0.7, 1.5, 9.0):
        histogram.observe(value)
    page = Exposition()
    page.histogram("h", "H.", (1.0, 2.0), [({"kind": "k"}, histogram)])
    type_, samples = read(page)["h"]
    assert type_ == "histogram"
    assert samples == {
        ("h_bucket", "1.0", "k"): 2,
        ("h_bucket", "2.0", "k"): 3,
        ("h_bucket", "+Inf", "k"): 4,
        ("h_sum", "k"): 0.1 + 0.7 + 1.5 + 9.0,
        ("h_count", "k"): 4,
    }


def test_a_histogram_needs_no_label() -> None:
    page = Exposition()
    page.histogram("h", "H.", (1.0,), Histogram((1.0,)))
    assert read(page)["h"][1] == {
        ("h_bucket", "1.0"): 0,
        ("h_bucket", "+Inf"): 0,
        ("h_sum",): 0,
        ("h_count",): 0,
    }
