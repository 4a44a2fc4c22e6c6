"""How are the results of scripts/conformance shown? The tables of clients and of the contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jaxserve.server.fields import WireModel
from jaxserve.server.row import Row
from jaxserve.server.schema import ChatBody, CompletionBody
from jaxserve.server.tgi.schema import GenerateBody
from scripts.contract import (
    CHAT_PARAMETERS,
    PEERS,
    ROUTES,
    TEXT_PARAMETERS,
    TGI_PARAMETERS,
    ParameterWish,
    RouteWish,
)

CONTRACT = "contract"  # what tests/live/test_contract.py is called among the clients
Verdict = Literal["read", "refused", "named as ignored"]

# A route, the body it reads, what its parameters are within, and the parameters.
PARAMETERS: tuple[tuple[str, type[WireModel], str, tuple[ParameterWish, ...]], ...] = (
    ("/v1/chat/completions", ChatBody, "", CHAT_PARAMETERS),
    ("/v1/completions", CompletionBody, "", TEXT_PARAMETERS),
    ("/generate", GenerateBody, "parameters.", TGI_PARAMETERS),
)

CLIENTS_HEAD = """## Clients

Each ran against a live server of the model that ships, and where it embeds or ranks, of
all-MiniLM-L6-v2.

| Client | Version | Passed | What was run |
|---|---|---|---|
"""
CONTRACT_HEAD = """## Routes and parameters, beside the peers

`must`: a server that takes another's place fails without it; `should`: common clients and tools use
it. A tick says that a live server was sent it and did what the column before it says. The peers'
columns are from their sources and documents in 2026.
"""


def clients_section(clients: Mapping[str, Any]) -> str:
    """`{name: {"version": ..., "tests": {test: outcome}}}` as a table."""
    lines = [_client_line(name, clients[name]) for name in sorted(clients, key=str.lower)]
    return CLIENTS_HEAD + "\n".join(lines)


def _client_line(name: str, client: Mapping[str, Any]) -> str:
    tests: Mapping[str, str] = client["tests"]
    passed = [test for test, outcome in tests.items() if outcome == "passed"]
    run = ", ".join(dict.fromkeys(_words(test) for test in tests))
    failed = [_words(test) for test in tests if test not in passed]
    told = run + (f"; **failed: {', '.join(failed)}**" if failed else "")
    return f"| {name} | {client['version']} | {len(passed)} of {len(tests)} | {told} |"


def _words(test: str) -> str:
    return re.sub(r"\[.*", "", test).removeprefix("test_").replace("_", " ")


def contract_section(
    shown: Mapping[str, str],
    route_of: Callable[[RouteWish], Row | None],
    verdict_of: Callable[[str, type[WireModel]], Verdict],
) -> str:
    """`shown` are the outcomes of tests/live/test_contract.py by test."""
    parts = [CONTRACT_HEAD, _head("Route")]
    for wish in ROUTES:
        here = _where(wish.switch, "missing" if route_of(wish) is None else "answered")
        tick = _tick(shown.get(f"test_route[{wish.id}]"))
        name = f"`{wish.method} {wish.path}`"
        parts.append(f"| {name} | {wish.priority} | {_peers(wish.peers)} | {here} | {tick} |\n")
    for path, body, prefix, wishes in PARAMETERS:
        parts.append(f"\n{_head(f'Parameter of `{path}`')}")
        for parameter in wishes:
            here = _where(parameter.switch, verdict_of(prefix + parameter.name, body))
            tick = _tick(shown.get(f"test_parameter[{path} {parameter.name}]"))
            peers = _peers(parameter.peers)
            line = f"| `{parameter.name}` | {parameter.priority} | {peers} | {here} | {tick} |\n"
            parts.append(line)
    return "".join(parts).strip()


def _where(switch: str, here: str) -> str:
    return f"behind `{switch}`" if switch else here


def _head(what: str) -> str:
    names = ("Priority", *PEERS.values(), "Here", "Shown")
    return f"\n| {what} | {' | '.join(names)} |\n|---{'|---' * len(names)}|\n"


def _peers(letters: str) -> str:
    return " | ".join("yes" if letter in letters else "" for letter in PEERS)


def _tick(outcome: str | None) -> str:
    return {"passed": "✓", None: "not run"}.get(outcome, "**failed**")
