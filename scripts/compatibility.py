"""Write docs/compatibility.md: what each route reads and refuses, beside its peers and its tests.

    python -m scripts.compatibility [--check]

With --check nothing is written, and the exit status is 1 when the file is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxserve.server.error_styles import OLLAMA, TGI
from jaxserve.server.fields import WireModel
from jaxserve.server.ollama import schema as ollama
from jaxserve.server.openai import embeddings, response_schema
from jaxserve.server.refusals import CHAT, COMPLETIONS, Refusal
from jaxserve.server.routes import ROWS
from jaxserve.server.row import Row
from jaxserve.server.schema import ChatBody, CompletionBody
from jaxserve.server.tgi import schema as tgi
from jaxserve.server.vllm import classify, score
from scripts.conformance_tables import CONTRACT, Verdict, clients_section, contract_section
from scripts.contract import RouteWish

RESULTS = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "results.json"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
HEAD = """# Compatibility

Written by `scripts/compatibility.py` from the table of routes, the types that validate bodies, the
tables of what is refused, and the results of `scripts/conformance`
([conformance.md](conformance.md)).

{clients}

{contract}

## Every route

A refused parameter is a 400 or 422 that names it, unless its value
asks for nothing; any other parameter that has no effect is named in the header
`x-jaxserve-ignored` of generation routes. Errors are told in the words of the API in the second
column.

| Route | API | Reads | Refuses |
|---|---|---|---|
"""

REFUSED: dict[type[WireModel], tuple[Refusal, ...]] = {
    ChatBody: CHAT,
    CompletionBody: COMPLETIONS,
    ollama.OllamaChatBody: ollama.REFUSED,
    ollama.OllamaGenerateBody: ollama.REFUSED,
    ollama.Options: ollama.REFUSED_OPTIONS,
    embeddings.EmbeddingBody: embeddings.REFUSED,
    response_schema.ResponsesBody: response_schema.REFUSED,
    classify.ClassifyBody: classify.REFUSED,
    classify.PoolingBody: classify.REFUSED,
    score.ScoreBody: score.REFUSED,
}
GROUPS: dict[str, type[WireModel]] = {"parameters": tgi.Parameters, "options": ollama.Options}
NOT_APPLIED = {"parameters.watermark"}  # checked, and named in the header


def page() -> str:
    clients = json.loads(RESULTS.read_text(encoding="utf-8"))["clients"]
    shown = clients.pop(CONTRACT, {"tests": {}})["tests"]
    head = HEAD.format(
        clients=clients_section(clients), contract=contract_section(shown, route_of, verdict_of)
    )
    return head + "".join(f"{line_of(row)}\n" for row in ROWS)


def route_of(wish: RouteWish) -> Row | None:
    """The row that answers."""
    for row in ROWS:
        path = re.sub(r"\{\w+:path\}", ".+", row.path)
        if wish.method in row.methods and re.fullmatch(path, wish.path):
            return row
    return None


def verdict_of(name: str, body: type[WireModel]) -> Verdict:
    """What becomes of a parameter; within an object it is called as in `parameters.top_k`."""
    if name in _refused(body):
        return "refused"
    return "read" if name in _read(body) else "named as ignored"


def line_of(row: Row) -> str:
    read = [name for body in row.bodies for name in _read(body)]
    refused = [name for body in row.bodies for name in _refused(body)]
    told = (f"`{' '.join(row.methods)} {row.path}`", _api(row), _listed(read), _listed(refused))
    return f"| {' | '.join(told)} |"


def _api(row: Row) -> str:
    if row.style is TGI:
        return "TGI"
    return "Ollama" if row.style is OLLAMA else "OpenAI, vLLM"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _groups(body: type[WireModel]) -> Iterator[tuple[str, type[WireModel]]]:
    """The objects within a body that hold parameters, by the name of their field."""
    for name, group in GROUPS.items():
        field = body.model_fields.get(name)
        if field is not None and field.annotation is group:
            yield name, group


def _read(body: type[WireModel]) -> Iterator[str]:
    groups = dict(_groups(body))
    yield from (name for name in body.model_fields if name not in groups)
    paths = (f"{name}.{field}" for name, group in groups.items() for field in group.model_fields)
    yield from (path for path in paths if path not in NOT_APPLIED)


def _refused(body: type[WireModel]) -> Iterator[str]:
    yield from (refusal.field for refusal in REFUSED.get(body, ()))
    for name, group in _groups(body):
        yield from (f"{name}.{refusal.field}" for refusal in REFUSED.get(group, ()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if not current")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/compatibility.md is not current: run python -m scripts.compatibility")


if __name__ == "__main__":
    main()
