"""How does the API read to a person? One page without scripts, and the document behind it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from jaxserve.server.bodies import JSONBody
from jaxserve.server.openapi import openapi_document
from jaxserve.server.row import Row
from jaxserve.server.state import state_of

TEMPLATE = Path(__file__).with_name("docs.html")
Schema = dict[str, Any]

_INNER = re.compile(r'"#/components/schemas/(\w+)"')


async def openapi(request: Request) -> Response:
    """This API as an OpenAPI document."""
    return JSONBody(_document(state_of(request).rows))


async def docs(request: Request) -> Response:
    """This API as a page to read."""
    state = state_of(request)
    return HTMLResponse(_page(state.rows, state.model.names[0]))


@functools.lru_cache(maxsize=4)
def _document(rows: tuple[Row, ...]) -> Schema:
    return openapi_document(rows)


@functools.lru_cache(maxsize=4)
def _page(rows: tuple[Row, ...], model: str) -> str:
    """The page; all of its text comes from the document."""
    environment = Environment(autoescape=select_autoescape(default=True))
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    document = _document(rows)
    schemas = document["components"]["schemas"]
    operations = [
        {
            "path": path,
            "method": method.upper(),
            "summary": operation["summary"],
            "open": not operation["security"],
            "media": list(operation["responses"]["200"]["content"]),
            "bodies": [_body(name, schemas) for name in _body_names(operation, schemas)],
        }
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    said = {"role": "user", "content": "What is the capital of France?"}
    example = json.dumps({"model": model, "messages": [said]})
    return template.render(info=document["info"], operations=operations, example=example)


def _body_names(operation: Schema, schemas: Schema) -> list[str]:
    """The types a body may have, each followed by the types of its fields."""
    if "requestBody" not in operation:
        return []
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    names: list[str] = []
    for part in schema.get("anyOf", [schema]):
        names += [name for name in _with_inner(_name(part), schemas) if name not in names]
    return names


def _with_inner(name: str, schemas: Schema) -> list[str]:
    found = [name]
    for inner in _INNER.findall(json.dumps(schemas[name].get("properties", {}))):
        found += [each for each in _with_inner(inner, schemas) if each not in found]
    return found


def _body(name: str, schemas: Schema) -> Schema:
    schema = schemas[name]
    required = schema.get("required", [])
    fields = [
        {"name": field, "type": _told(part), "required": field in required, **_default(part)}
        for field, part in schema.get("properties", {}).items()
    ]
    return {"name": name, "about": schema.get("description", ""), "fields": fields}


def _default(part: Schema) -> Schema:
    value = part.get("default")
    return {"default": "" if value in (None, [], {}, "") else json.dumps(value)}


def _told(part: Schema) -> str:
    """A schema in a few words: integer 1 to 128, list of string, string or list of string."""
    if "$ref" in part:
        return _name(part)
    if "enum" in part:
        return " or ".join(json.dumps(value) for value in part["enum"])
    if "anyOf" in part:
        told = (_told(option) for option in part["anyOf"] if option.get("type") != "null")
        return " or ".join(dict.fromkeys(told))
    if part.get("type") == "array":
        return f"list of {_told(part.get('items', {}))}"
    kind = part.get("type", "any")
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum", part.get("exclusiveMaximum"))
    bounds = f" {'' if low is None else low} to {'' if high is None else high}"
    return kind if low is None and high is None else (kind + bounds).strip()


def _name(part: Schema) -> str:
    return str(part["$ref"]).rpartition("/")[2]
