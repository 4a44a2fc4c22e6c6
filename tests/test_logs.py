"""Log lines as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from jaxserve.logs import log_to_stderr
from tests.server.apps import TEXT, client
from tests.text_fakes import ScriptedEngine


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("jaxserve")
    handlers, levels = root.handlers, (root.level, ours.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_a_finished_request_is_a_line_with_what_it_took(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr(level="info", form="json")
    with client(ScriptedEngine(b"ab")) as c:
        c.post(TEXT, json={"prompt": "hi"}, headers={"x-request-id": "abc"})
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert line["level"] == "INFO"
    assert (line["request_id"], line["path"], line["ended"]) == ("abc", TEXT, True)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 3)


def test_json_holds_the_exception_in_its_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(level="info", form="json")
    try:
        raise ValueError("no\nway")
    except ValueError:
        logging.getLogger("jaxserve.x").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: no\nway" in json.loads(line)["exception"]


def test_the_level_is_the_least_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(level="warning", form="text")
    logging.getLogger("jaxserve.x").info("quiet")
    logging.getLogger("jaxserve.x").warning("loud")
    logging.getLogger("other").info("others")
    assert capsys.readouterr().err.rstrip().endswith("WARNING jaxserve.x: loud")
