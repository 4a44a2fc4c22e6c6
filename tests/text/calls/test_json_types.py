"""A bare value becomes the JSON that the tool's schema allows."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.text.calls.json_types import ANY, json_of, parameter_types

ROOT: dict[str, Any] = {"$defs": {"a/b": {"type": "array"}, "loop": {"$ref": "#/$defs/loop"}}}


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"enum": ["a", 1, 1.5, None, True]}, {"string", "integer", "number", "null", "boolean"}),
        ({"const": {}}, {"object"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"anyOf": [{"type": "integer"}, {}]}, ANY),
        ({"$ref": "#/$defs/a~1b"}, {"array"}),
        ({"$ref": "#/$defs/loop"}, ANY),
        ({"$ref": "elsewhere"}, ANY),
        ({"description": "?"}, ANY),
        (True, ANY),
        (None, ANY),
    ],
)
def test_types_are_read_from_the_schema(schema: Any, types: Any) -> None:
    assert parameter_types(schema, ROOT) == frozenset(types)


@pytest.mark.parametrize(
    ("text", "types", "written"),
    [
        ("1", {"integer"}, "1"),
        (" 1 ", {"number"}, "1"),
        ("1", {"string", "null"}, '"1"'),
        ("1", {"string", "integer"}, "1"),
        ("null", {"string", "null"}, "null"),
        ('"a"', {"string", "null"}, '"\\"a\\""'),
        ("True", {"boolean"}, "true"),
        ("{'a': None}", {"object"}, '{"a": null}'),
        ('{"a":1 }', {"object"}, '{"a":1 }'),
        ("[1,", {"array"}, '"[1,"'),
        ("NaN", {"number"}, '"NaN"'),
        ("many", {"integer"}, '"many"'),
        ("7", ANY, "7"),
        ("seven", ANY, '"seven"'),
        ("['\\ud800']", {"array"}, '["\\ud800"]'),
        ("(" * 500, {"array"}, '"' + "(" * 500 + '"'),
    ],
)
def test_a_bare_value_is_written_as_json(text: str, types: Any, written: str) -> None:
    assert json_of(text, frozenset(types)) == written
