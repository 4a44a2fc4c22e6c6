"""The table of parameters is the one that the code makes."""

import pytest

from jaxserve.server.fields import WireModel
from jaxserve.server.routes import ROWS
from scripts.compatibility import PAGE, line_of, page, route_of, verdict_of
from scripts.conformance_tables import PARAMETERS
from scripts.contract import ROUTES, ParameterWish, RouteWish


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m scripts.compatibility"


def test_a_route_tells_what_it_reads_and_refuses_by_path() -> None:
    line = next(line_of(row) for row in ROWS if row.path == "/generate")
    _, route, api, reads, refuses, _ = line.split("|")
    assert (route.strip(), api.strip()) == ("`POST /generate`", "TGI")
    assert "`parameters.top_k`" in reads and "watermark" not in reads
    assert not refuses.strip()
    (refused,) = (line_of(row).split("|")[4] for row in ROWS if row.path == "/v1/completions")
    assert "`suffix`" in refused


@pytest.mark.parametrize("wish", ROUTES, ids=lambda wish: wish.id)
def test_routes_that_must_or_should_be_there_are(wish: RouteWish) -> None:
    assert route_of(wish) is not None


@pytest.mark.parametrize(
    ("body", "prefix", "wish"),
    [(body, prefix, wish) for _, body, prefix, wishes in PARAMETERS for wish in wishes],
    ids=lambda part: getattr(part, "name", None),
)
def test_parameters_that_must_or_should_be_read_are(
    body: type[WireModel], prefix: str, wish: ParameterWish
) -> None:
    verdict = verdict_of(prefix + wish.name, body)
    assert verdict == "read" or wish.priority == "later"
