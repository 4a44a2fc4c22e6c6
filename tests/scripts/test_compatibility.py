"""The table of parameters is the one that the code makes."""

from jaxserve.server.routes import ROWS
from scripts.compatibility import PAGE, line_of, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python scripts/compatibility.py"


def test_a_route_tells_what_it_reads_and_refuses_by_path() -> None:
    line = next(line_of(row) for row in ROWS if row.path == "/generate")
    _, route, api, reads, refuses, _ = line.split("|")
    assert (route.strip(), api.strip()) == ("`POST /generate`", "TGI")
    assert "`parameters.top_k`" in reads and "watermark" not in reads
    assert not refuses.strip()
    (refused,) = (line_of(row).split("|")[4] for row in ROWS if row.path == "/v1/completions")
    assert "`suffix`" in refused
