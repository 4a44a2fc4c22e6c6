"""Which texts are a bare value that satisfies a schema, up to the tag that closes it?

Bare means without quotes, so a string is any text. The counterpart of `json_types.json_of`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from jaxserve.text.calls.json_types import (
    MAX_REFERENCES,
    STRING,
    Types,
    dump,
    json_of,
    parameter_types,
    resolve,
)
from jaxserve.text.calls.lark import Lark
from jaxserve.text.json_schema import GrammarRefused

_SHAPES = frozenset(("pattern", "minLength", "maxLength"))
_KINDS: dict[str, type] = {
    "$ref": str,
    "anyOf": list,
    "enum": list,
    "maxLength": int,
    "minLength": int,
    "oneOf": list,
    "pattern": str,
    "properties": dict,
    "required": list,
}
_JSON_NAMES = {dict: "object", int: "integer", list: "array", str: "string"}
_SLASH = "\\/"
_UNESCAPED_SLASH = re.compile(r"(?<!\\)/")
_IDLE = frozenset(
    ("type", "title", "description", "default", "examples", "format", "$defs", "definitions")
)


def check_keywords(schema: dict[str, Any]) -> None:
    """Raise GrammarRefused for a keyword that is read here and has a value of the wrong type."""
    for keyword, kind in _KINDS.items():
        if keyword in schema and not isinstance(schema[keyword], kind):
            raise GrammarRefused(f"{keyword} must be of the JSON type {_JSON_NAMES[kind]}")


class BareValues:
    """Adds the rules of values that `close` ends, itself included; with `lines` a newline first."""

    def __init__(self, lark: Lark, close: str, *, lines: bool) -> None:
        self._lark = lark
        self._close = close
        self._lines = lines

    def rule(self, schema: dict[str, Any], *, where: str) -> str:
        schema = _followed(schema)
        check_keywords(schema)
        types = parameter_types(schema, schema)
        if "enum" in schema or "const" in schema:
            return self._one_of(schema.get("enum", [schema.get("const")]), types, where)
        if "string" not in types:
            return f'{self._lark.json(schema)} "\\n"? {self._lark.literal(self._close)}'
        if types == STRING and schema.keys() & _SHAPES:
            return self._shaped(schema)
        if not _says_types_only(schema):
            raise GrammarRefused(
                f"{where} may be a string, and what {', '.join(sorted(schema.keys() - _IDLE))} "
                "says of it can not be enforced where strings are written without quotes"
            )
        return self._lark.up_to(self._close)

    def _one_of(self, members: list[Any], types: Types, where: str) -> str:
        texts = [member if isinstance(member, str) else dump(member) for member in members]
        for text, member in zip(texts, members, strict=True):
            read = text if types == STRING else json.loads(json_of(text, types))
            if read != member or self._close in text or text.strip("\n") != text:
                raise GrammarRefused(
                    f"{where} may be {dump(member)}, which is not told from another value where "
                    "strings are written without quotes"
                )
        options = " | ".join(self._lark.text(text) for text in texts if text)
        some = f"({options})" + ("?" if "" in texts else "") if options else ""
        return f"{some} {self._line_end} {self._lark.literal(self._close)}"

    def _shaped(self, schema: dict[str, Any]) -> str:
        """A string with a pattern or a length: one terminal with its end, which is not within."""
        low, high = schema.get("minLength", 0), schema.get("maxLength", "")
        shapes = [f"/(?s:.){{{low},{high}}}/"]
        if "pattern" in schema:
            shapes.append(f"/{_anywhere(schema['pattern'])}/")
        close = _escaped(self._close)
        body = self._lark.terminal(f"{' & '.join(shapes)} & ~/(?s:.*){close}(?s:.*)/")
        ending = self._lark.text(("\n" if self._lines else "") + self._close)
        return self._lark.lazy(self._lark.terminal(f"{body} {ending}"))

    @property
    def _line_end(self) -> str:
        return '"\\n"' if self._lines else ""


def _followed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference stands for, with what references in it need."""
    shared: dict[str, Any] = {k: schema[k] for k in ("$defs", "definitions") if k in schema}
    for _ in range(MAX_REFERENCES):
        reference = schema.get("$ref")
        target = resolve(reference, schema) if isinstance(reference, str) else None
        if not isinstance(target, dict):
            break
        schema = {**shared, **target}
    return schema


def _says_types_only(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.keys() - _IDLE - {"anyOf", "oneOf"}:
        return False
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return all(map(_says_types_only, options))


def _anywhere(pattern: str) -> str:
    """The pattern as one of the whole text: JSON Schema's may match anywhere in it."""
    before = "" if pattern.startswith("^") else "(?s:.*)"
    after = "" if pattern.endswith("$") and not pattern.endswith("\\$") else "(?s:.*)"
    inner = pattern.removeprefix("^").removesuffix("$") if not after else pattern.removeprefix("^")
    return f"{before}(?:{_UNESCAPED_SLASH.sub(_SLASH, inner)}){after}"


def _escaped(literal: str) -> str:
    return re.escape(literal).replace("/", _SLASH)
