"""Can outputs be held to this JSON schema? What llguidance takes, and what it must not be given.

A keyword that decides what is valid is either enforced or refused by name and place. Annotations,
unknown keywords and unknown formats decide nothing and are let through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64
MAX_SCHEMAS = 20_000

# Optional blanks as people write them; without a limit a model can go on with them for ever.
_BLANKS = r"( |\n[ \t]{0,20})"

_UNSUPPORTED = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems",
    "propertyNames", "dependencies", "dependentRequired", "dependentSchemas",
    "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_CHANGES_NOTHING: dict[str, Callable[[Any], bool]] = {
    "uniqueItems": lambda value: value is False,
    "unevaluatedProperties": lambda value: value in (True, {}),
    "unevaluatedItems": lambda value: value in (True, {}),
    "propertyNames": lambda value: value in (True, {}, {"type": "string"}),
}
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
_ONE_SCHEMA = ("additionalProperties", "items", "additionalItems")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")

Schema = dict[str, Any]


class GrammarRefused(ValueError):
    """A form that outputs can not be held to; the message says why, and where in it."""


def enforceable(schema: object) -> Schema:
    """The schema as llguidance is given it. Raises GrammarRefused."""
    if schema is False:
        raise GrammarRefused("the schema is false, which nothing satisfies")
    plain = {} if schema is True else _Walk().checked(schema, "#", depth=0)
    return {**plain, "x-guidance": {"whitespace_pattern": _BLANKS}}


class _Walk:
    """Goes through a schema and the schemas in it, up to a number of them."""

    def __init__(self) -> None:
        self._num_schemas = 0

    def checked(self, schema: object, path: str, *, depth: int) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise GrammarRefused(f"{path} must be a schema: an object, true or false")
        self._num_schemas += 1
        if depth > MAX_DEPTH:
            raise GrammarRefused(f"the schema is nested more than {MAX_DEPTH} deep, at {path}")
        if self._num_schemas > MAX_SCHEMAS:
            raise GrammarRefused(f"the schema has more than {MAX_SCHEMAS} subschemas")
        kept = {key: value for key, value in schema.items() if not _is_idle(key, value)}
        _refuse_keywords(kept, path)
        return {key: self._part(key, kept[key], f"{path}/{key}", depth + 1) for key in kept}

    def _part(self, key: str, value: object, path: str, depth: int) -> Any:
        if key in _LISTS and isinstance(value, list):
            return [self.checked(v, f"{path}/{i}", depth=depth) for i, v in enumerate(value)]
        if key in _BY_NAME and isinstance(value, dict):
            return {k: self.checked(v, f"{path}/{k}", depth=depth) for k, v in value.items()}
        return self.checked(value, path, depth=depth) if key in _ONE_SCHEMA else value


def _is_idle(key: str, value: object) -> bool:
    """Whether the keyword leaves as valid what is valid without it, or is not for clients."""
    if key == "format":
        return value not in _FORMATS
    return key == "x-guidance" or (key in _CHANGES_NOTHING and _CHANGES_NOTHING[key](value))


def _refuse_keywords(schema: Schema, path: str) -> None:
    for keyword in _UNSUPPORTED:
        if keyword in schema:
            raise GrammarRefused(f"the keyword {keyword!r} at {path} can not be enforced")
    for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(schema.get(keyword), bool):
            raise GrammarRefused(f"{keyword} at {path} must be a number, not true or false")
