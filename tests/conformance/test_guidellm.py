"""guidellm, a public load tool: every request of a small load succeeds at its length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.client("guidellm", "guidellm")

NUM_REQUESTS = 12
OUTPUT_TOKENS = 12


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_a_load_of_concurrent_streams(
    chat_url: str, tiny_chat: Path, tmp_path: Path, route: str
) -> None:
    report = tmp_path / "report.json"
    command = [
        *("run", "--disable-console"),
        *(
            "--backend",
            f"kind=openai_http,target={chat_url},model=tiny-chat,request_format={route}",
        ),
        *("--profile", "kind=concurrent,streams=4"),
        *("--constraint", f"kind=max_requests,count={NUM_REQUESTS}"),
        *("--tokenizer", f"kind=huggingface_auto,model={tiny_chat}"),
        *("--data", f"kind=synthetic_text,prompt_tokens=32,output_tokens={OUTPUT_TOKENS}"),
        *("--output", f"kind=json,path={report}"),
    ]
    tool = Path(sys.executable).with_name("guidellm")
    done = subprocess.run([tool, *command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads(report.read_text())["benchmarks"][0]["metrics"]
    totals = metrics["request_totals"]
    assert (totals["successful"], totals["errored"]) == (NUM_REQUESTS, 0)
    lengths = metrics["output_token_count"]["successful"]
    assert (lengths["min"], lengths["max"]) == (OUTPUT_TOKENS, OUTPUT_TOKENS)
    assert metrics["prompt_token_count"]["successful"]["mean"] >= 32
    assert metrics["time_to_first_token_ms"]["successful"]["mean"] > 0
