"""Which JSON types does a schema allow, and what does a bare text mean under them?

For formats that write a value without quotes, where only the tool's schema tells the string `1`
from the number.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

Types = frozenset[str]

ANY: Types = frozenset()
STRING: Types = frozenset({"string"})
MAX_REFERENCES = 16


def parameter_types(schema: Any, root: Any) -> Types:
    """The types that `schema` allows, ANY when it does not tell; `root` resolves references."""
    return _types(schema, root, MAX_REFERENCES)


def json_of(text: str, types: Types) -> str:
    """The JSON of a bare value: what the schema allows if it can be that, else a string.

    JSON is kept as it is written; Python's spelling is understood.
    """
    stripped = text.strip()
    found = _read_json(stripped)
    if found is not None and _allowed(found[0], types):
        return found[1]
    if "string" in types or found is None:
        return json.dumps(text, ensure_ascii=False)
    return found[1]


def dump(value: Any) -> str:
    """The value as JSON that can be written as UTF-8; raises ValueError when it has none."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if is_unicode(written):
        return written
    return json.dumps(value, allow_nan=False)  # half of a surrogate pair, by an escape


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    names: dict[type, str] = {float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _types(schema: Any, root: Any, budget: int) -> Types:
    if not isinstance(schema, Mapping) or budget == 0:
        return ANY
    if isinstance(schema.get("$ref"), str):
        return _types(resolve(schema["$ref"], root), root, budget - 1)
    named = schema.get("type")
    if isinstance(named, str | list):
        return frozenset([named] if isinstance(named, str) else map(str, named))
    if isinstance(schema.get("enum"), list):
        return frozenset(map(type_name, schema["enum"]))
    if "const" in schema:
        return frozenset({type_name(schema["const"])})
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            options = [_types(option, root, budget - 1) for option in schema[key]]
            return frozenset().union(*options) if all(options) else ANY
    return ANY


def resolve(reference: str, root: Any) -> Any:
    """What a reference within one schema points at, None when there is no such place."""
    place = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step and isinstance(place, Mapping):
            place = place.get(step.replace("~1", "/").replace("~0", "~"))
    return place if reference.startswith("#") else None


def _read_json(text: str) -> tuple[Any, str] | None:
    """The value and its JSON, None when the text is no value."""
    try:
        return json.loads(text, parse_constant=refuse_constant), text
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text)
        written = dump(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return (value, written) if not isinstance(value, str) else None


def refuse_constant(constant: str) -> Any:
    """For `json.loads`, which would take NaN."""
    raise ValueError(f"{constant} is not JSON")


def _allowed(value: Any, types: Types) -> bool:
    if isinstance(value, str):  # its quotes are part of a bare string
        return False
    if types == ANY:
        return True
    name = type_name(value)
    return name in types or (name == "integer" and "number" in types)
