"""Parts of a start follow one another, and another process may read them."""

from __future__ import annotations

import json
from pathlib import Path

from jaxserve.phases import Phases, process_phases


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_part_begins_when_the_one_before_it_ended() -> None:
    clock = Clock()
    phases = Phases(clock=clock)
    for name, seconds in (("imports", 2.0), ("weights", 3.5)):
        clock.now += seconds
        phases.end(name)
    assert phases.seconds == {"imports": 2.0, "weights": 3.5}
    assert phases.total_s == 5.5
    assert str(phases) == "imports 2.00 s, weights 3.50 s"


def test_another_process_goes_on_from_a_written_report(tmp_path: Path) -> None:
    clock = Clock()
    phases = Phases(clock=clock)
    clock.now += 1.0
    phases.end("imports")
    phases.write(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["seconds"] == {"imports": 1.0}
    assert report["total_s"] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]

    parent = Phases(began_at=99.5, clock=clock)
    parent.merge(report["ended_at"])
    clock.now += 2.0
    parent.end("first_token")
    assert parent.seconds == {"imports": 1.5, "first_token": 2.0}


def test_a_process_has_an_age() -> None:
    phases = process_phases()
    phases.end("imports")
    assert phases.seconds["imports"] > 0
