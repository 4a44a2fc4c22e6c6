"""A start is measured from the outside; what does not start says why."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jaxserve import cli
from jaxserve.bench import startup
from jaxserve.bench.startup import Start, StartupReport, start_once
from jaxserve.errors import ConfigError, EngineFailed

ROOT = Path(__file__).parent.parent.parent
SERVER = """
import sys, time, uvicorn
from jaxserve.phases import Phases
from tests.bench.app import WordServer
phases = Phases()
phases.end("imports")
if len(sys.argv) > 2:
    phases.write(__import__("pathlib").Path(sys.argv[2]))
uvicorn.run(WordServer().app(), port=int(sys.argv[1]), log_level="error")
"""


def command(*more: str) -> list[str]:
    return [sys.executable, "-c", SERVER, "{port}", *more]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_server_that_writes_a_report_has_its_parts_and_the_first_token(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    start = start_once(command(str(report)), timeout_s=60, report=report)
    assert list(start.seconds) == ["imports", "first_token"]
    assert all(seconds > 0 for seconds in start.seconds.values())
    assert start.rss_bytes > 10e6


def test_any_server_can_be_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, out = tmp_path / "server.py", tmp_path / "out.json"
    script.write_text(SERVER)
    asked = f"env PYTHONPATH={ROOT} {sys.executable} {script} {{port}}"
    options = ["--repeat", "1", "--output", str(out), "--price-per-hour", "3600"]
    cli.main(["bench", "startup", "--command", asked, *options])
    written = json.loads(out.read_text())
    assert written["cold"] is None
    assert list(written["warm"][0]["phases"]) == ["ready", "first_token"]
    assert written["cost_of_a_warm_start"] == pytest.approx(written["median_warm"]["total"])
    assert "| all " in capsys.readouterr().out


def test_a_model_that_is_named_is_asked_for_and_not_looked_up() -> None:
    """transformers lists what is in its cache, which may be nothing, or another model first."""
    unlisted = "import sys, uvicorn; from tests.bench.app import WordServer; "
    unlisted += "app = WordServer(listed=()).app(); "
    unlisted += "uvicorn.run(app, port=int(sys.argv[1]), log_level='error')"
    start = start_once(
        [sys.executable, "-c", unlisted, "{port}"], timeout_s=60, flavor="openai", model="words"
    )
    assert list(start.seconds) == ["ready", "first_token"]


def test_a_server_that_is_late_is_quoted() -> None:
    late = "import time; print('reading weights', flush=True); time.sleep(60)"
    with pytest.raises(EngineFailed, match=r"--timeout-s .*\nreading weights"):
        start_once([sys.executable, "-c", late], timeout_s=2)


def test_a_server_that_ends_is_quoted() -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with pytest.raises(EngineFailed, match=r"ended with 1 and said:\nno such model"):
        start_once(broken, timeout_s=60)


def test_what_follows_the_dashes_goes_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    only = Start(seconds={"imports": 1.0, "first_token": 0.5}, rss_bytes=1)

    def measure(arguments: object, **options: object) -> StartupReport:
        given.extend((arguments, options["repeat"]))
        return StartupReport(cold=only, warm=(only, only), price_per_hour=None)

    monkeypatch.setattr(startup, "measure_jaxserve", measure)
    cli.main(["bench", "startup", "--repeat", "2", "--", "./m", "--dtype", "bfloat16"])
    assert given == [("./m", "--dtype", "bfloat16"), 2]


@pytest.mark.parametrize("arguments", [["startup", "--", "--port", "1"], ["serve", "--", "x"]])
def test_what_cannot_be_passed_on_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", *arguments])
    assert exit_info.value.code == 2
    assert "--" in capsys.readouterr().err


def test_a_command_without_a_port_is_refused() -> None:
    with pytest.raises(ConfigError, match="port"):
        startup.measure_command("server", repeat=1, timeout_s=1, flavor="vllm")
