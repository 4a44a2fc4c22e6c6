"""A run against a server that answers: what it asked for, what it writes, from where it is run."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from jaxserve import cli
from jaxserve.bench.serve import ServeLoad, ServeReport, measure
from jaxserve.bench.serve_table import describe
from jaxserve.errors import ConfigError, EngineFailed
from tests.bench.app import WordServer, events, streamed
from tests.server import apps
from tests.text_fakes import ScriptedEngine


@contextmanager
def serving(server: WordServer) -> Iterator[str]:
    with apps.live_app(server.app()) as (url, _):
        yield url


def run(server: WordServer, **settings: Any) -> ServeReport:
    with serving(server) as url:
        return measure(ServeLoad(base_url=url, **settings), log=io.StringIO())


def test_prompts_have_the_lengths_that_were_asked_for() -> None:
    report = run(WordServer(), num_prompts=8, input_len="uniform:20:30", output_len="4")
    assert report.model == "words"
    assert report.figures["completed"] == 8
    assert all(20 <= answer.prompt_tokens <= 30 for answer in report.answers)
    assert report.figures["total_output_tokens"] == 32
    assert report.figures["total_cached_tokens"] == 24


def test_two_probes_and_the_warmups_are_asked_and_not_counted() -> None:
    server = WordServer()
    report = run(server, num_prompts=3, num_warmups=2, output_len="2")
    assert len(server.bodies) == 2 + 2 + 3
    assert len(report.answers) == 3
    prompts = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(set(prompts)) == len(prompts)  # nothing is found in a prefix cache


def test_turns_are_asked_with_their_history() -> None:
    server = WordServer()
    run(server, num_prompts=1, turns=3, num_warmups=0, output_len="2", max_concurrency=1)
    assert [len(body["messages"]) for body in server.bodies] == [1, 1, 1, 3, 5]


def test_the_completions_route_is_asked_for_text() -> None:
    server = WordServer()
    settings: dict[str, Any] = {"endpoint": "/v1/completions", "temperature": 0.0}
    report = run(server, num_prompts=2, input_len="30", output_len="3", **settings)
    assert report.figures["total_input_tokens"] == 60
    assert {body["temperature"] for body in server.bodies} == {0.0}


def test_it_runs_where_an_event_loop_runs() -> None:
    async def notebook() -> ServeReport:
        return run(WordServer(), num_prompts=2, output_len="2")

    assert asyncio.run(notebook()).figures["completed"] == 2


def test_the_file_has_the_keys_of_vllm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    limits = "--goodput ttft:60000 itl:60000 --price-per-hour 2 --label mine"
    with serving(WordServer()) as url:
        flags = f"--base-url {url} --num-prompts 4 --max-concurrency 2 --output-len 4 {limits}"
        cli.main(["bench", "serve", *flags.split(), "--output", str(path), "--save-detailed"])
    written = json.loads(path.read_text())
    for measure_name in ("ttft", "tpot", "itl", "e2el"):
        for figure in ("mean", "median", "std", "p90", "p99"):
            assert written[f"{figure}_{measure_name}_ms"] >= 0
    expected = {"date", "backend", "model_id", "num_prompts", "request_rate", "max_concurrency"}
    expected |= {"duration", "completed", "total_input_tokens", "request_throughput"}
    expected |= {"output_throughput", "total_token_throughput", "request_goodput", "burstiness"}
    expected |= {"input_lens", "output_lens", "ttfts", "itls", "start_times", "errors", "label"}
    assert expected <= written.keys()
    assert written["goodput_share"] == 1.0
    assert written["max_concurrent_requests"] == 2
    assert written["cost_per_million_output_tokens"]["idle_inclusive"] > 0
    out = capsys.readouterr().out
    assert "time to first token" in out and "a million output tokens, busy time" in out


def test_a_server_that_refuses_the_first_request_is_said_in_a_line() -> None:
    full = WordServer(lambda _: JSONResponse({"error": {"message": "full"}}, 429))
    with pytest.raises(EngineFailed, match=r"a first request of 32 words failed: HTTP 429: full"):
        run(full)


def test_errors_are_named_in_the_table() -> None:
    server = WordServer()

    def full_at_last(body: dict[str, Any]) -> Response:
        if len(server.bodies) < 5:
            return streamed(events(body))
        return JSONResponse({"error": {"message": "full"}}, 429)

    server.respond = full_at_last
    report = run(server, num_prompts=4, num_warmups=0, output_len="2", max_concurrency=1)
    assert (report.figures["completed"], report.figures["failed"]) == (2, 2)
    assert "|        2 | HTTP 429: full |" in describe(report)


def test_all_that_failed_exits_with_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prompts = tmp_path / "a.txt"
    prompts.write_text("one two\n")
    full = WordServer(lambda _: JSONResponse({"error": {"message": "full"}}, 429))
    with serving(full) as url, pytest.raises(SystemExit) as exit_info:
        flags = f"--base-url {url} --num-prompts 2 --output-len 3 --dataset-path {prompts}"
        cli.main(["bench", "serve", *flags.split()])
    assert exit_info.value.code == 1
    out = capsys.readouterr().out
    assert "HTTP 429: full" in out


def test_our_own_server_is_measured() -> None:
    engine = ScriptedEngine(list(b"abcdefghij"))
    with apps.live(engine) as url:
        load = ServeLoad(
            base_url=url, num_prompts=3, input_len="200", output_len="10", num_warmups=0
        )
        report = measure(load, log=io.StringIO())
    assert report.figures["completed"] == 3, report.figures["error_counts"]
    assert report.model == "tiny"
    assert report.figures["total_output_tokens"] == 30
    assert all(request.params.ignore_eos for request in engine.submitted)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_prompts": 0}, "num_prompts"),
        ({"request_rate": 0.0}, "request_rate"),
        ({"flavor": "openai"}, "no-ignore-eos"),
        ({"header": ("broken",)}, "NAME:VALUE"),
        ({"goodput": ("x:1",)}, "objective"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(WordServer(), **settings)


def test_no_server_is_said_in_a_line() -> None:
    with pytest.raises(EngineFailed, match=r"there is no server at http://127\.0\.0\.1:9"):
        measure(ServeLoad(base_url="http://127.0.0.1:9"))
