"""The shipped weights answer questions whose wording they were never trained on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.tiny_chat.held_out import Case, held_out
from tests.live.conftest import Live

NUM_CASES = 160
REQUIRED = 0.9


def reply_to(live: Live, case: Case) -> str:
    options: dict[str, Any] = {"tools": list(case.tools)} if case.tools else {}
    messages: Any = list(case.messages)
    answer = live.client().chat.completions.create(
        model="tiny-chat", messages=messages, max_tokens=160, **options
    )
    message = answer.choices[0].message
    calls = [
        {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
        for call in message.tool_calls or []
        if call.type == "function"
    ]
    marked = [f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls]
    return "\n".join([*([message.content] if message.content else []), *marked])


def test_held_out_wordings_are_answered(live: Live) -> None:
    cases = held_out(seed=5, count=NUM_CASES)
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda case: reply_to(live, case), cases))
    wrong = [
        f"{case.category}: {case.messages[-1]} -> {reply!r}, expected {case.expected!r}"
        for case, reply in zip(cases, replies, strict=True)
        if not case.passes(reply)
    ]
    assert len(wrong) <= (1 - REQUIRED) * NUM_CASES, "\n".join(wrong)
