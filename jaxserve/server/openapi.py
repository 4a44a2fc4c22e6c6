"""What does the API look like to a machine? The OpenAPI document of a table of routes.

Made from the very types that requests are validated with, so it can't say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from jaxserve.server.error_styles import OLLAMA, TGI, ErrorStyle
from jaxserve.server.row import Row
from jaxserve.version import __version__

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")

_TGI_ERROR = {
    "type": "object",
    "required": ["error", "error_type"],
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
}
_OLLAMA_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "error_type": {"type": "string"},
    },
}


def openapi_document(rows: Sequence[Row]) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the paths, with what each reads and how it tells errors."""
    models = list(dict.fromkeys(body for row in rows for body in row.bodies))
    _, schemas = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = paths.setdefault(_PARAMETER.sub(r"{\1}", row.path), {})
        for method in row.methods:
            path[method.lower()] = _operation(row, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jaxserve",
            "version": __version__,
            "description": "OpenAI's, TGI's, vLLM's and Ollama's routes over one model.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                **schemas.get("$defs", {}),
                "OpenAIError": _OPENAI_ERROR,
                "TGIError": _TGI_ERROR,
                "OllamaError": _OLLAMA_ERROR,
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Row, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(method, row.path),
        "summary": row.summary,
        "security": [] if row.open else [{"key": []}],
        "responses": {
            "200": {"description": "The answer.", "content": _answer_content(row)},
            "default": {
                "description": "What went wrong.",
                "content": {"application/json": {"schema": _error_schema(row)}},
            },
        },
    }
    names = [match.group(1) for match in _PARAMETER.finditer(row.path)]
    if names:
        schema = {"type": "string"}
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema} for name in names
        ]
    if row.bodies:
        schemas = [_ref(body.__name__) for body in row.bodies]
        schema_of_body = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        content = {"application/json": {"schema": schema_of_body}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer_content(row: Row) -> dict[str, Any]:
    content: dict[str, Any] = {row.answers: {}}
    if row.streams:
        stream = "application/x-ndjson" if row.style is OLLAMA else "text/event-stream"
        content[stream] = {}
    return content


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[a-z0-9]+", path.lower()) or ["root"]
    return "_".join((method.lower(), *words))


def _error_schema(row: Row) -> dict[str, Any]:
    told = _ref(_error_name(row.style))
    if row.also_style is None:
        return told
    return {"anyOf": [told, _ref(_error_name(row.also_style))]}


def _error_name(style: ErrorStyle) -> str:
    if style is TGI:
        return "TGIError"
    return "OllamaError" if style is OLLAMA else "OpenAIError"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}
