"""JSON schemas as applications write them, by what they are for."""

from __future__ import annotations

from typing import Any


def record(properties: dict[str, Any], *optional: str, **more: Any) -> dict[str, Any]:
    """An object with these properties and no others, required but for the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


STRING, INTEGER, NUMBER, BOOLEAN = (
    {"type": kind} for kind in ("string", "integer", "number", "boolean")
)

STEP = record({"explanation": STRING, "output": STRING})
ADDRESS = record(
    {
        "street": STRING,
        "city": STRING,
        "zip": {"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"},
        "country": {"type": "string", "minLength": 2, "maxLength": 2},
    },
    "zip",
)
TREE = {
    "$defs": {
        "node": record(
            {"value": INTEGER, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "children",
        )
    },
    "$ref": "#/$defs/node",
}
SHAPES = {
    "$defs": {
        "circle": record({"kind": {"const": "circle"}, "radius": {**NUMBER, "minimum": 0}}),
        "square": record({"kind": {"const": "square"}, "side": {**NUMBER, "exclusiveMinimum": 0}}),
    },
    "oneOf": [{"$ref": "#/$defs/circle"}, {"$ref": "#/$defs/square"}],
    "discriminator": {"propertyName": "kind"},
}

SCHEMAS: dict[str, Any] = {
    "any value": {},
    "any object": {"type": "object"},
    "flat record": record({"name": STRING, "age": INTEGER, "member": BOOLEAN}),
    "optional property": record({"title": STRING, "pages": INTEGER, "isbn": STRING}, "isbn"),
    "further properties": {"type": "object", "properties": {"id": INTEGER}, "required": ["id"]},
    "map of numbers": {"type": "object", "additionalProperties": NUMBER},
    "pattern properties": {
        "type": "object",
        "patternProperties": {"^x-[a-z]+$": STRING, "^n-": INTEGER},
        "additionalProperties": False,
    },
    "small map": {"type": "object", "additionalProperties": INTEGER, "maxProperties": 2},
    "enum of strings": record({"sentiment": {"enum": ["positive", "negative", "neutral"]}}),
    "enum of all kinds": {"enum": ["a", 1, 2.5, True, None, [1, "x"], {"deep": {"er": []}}]},
    "const": record({"version": {"const": "1.0"}, "n": {"const": 7}}),
    "nullable by type": record({"note": {"type": ["string", "null"]}}),
    "nullable by anyOf": record({"score": {"anyOf": [NUMBER, {"type": "null"}], "default": None}}),
    "anyOf records": record({"item": {"anyOf": [STEP, ADDRESS]}}),
    "tagged union": SHAPES,
    "oneOf kinds": record({"value": {"oneOf": [STRING, BOOLEAN, {"type": "array", "items": {}}]}}),
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"id": INTEGER}, "required": ["id"]},
            {"type": "object", "properties": {"tag": {"enum": ["x", "y"]}}, "required": ["tag"]},
        ]
    },
    "reference": {
        "$defs": {"address": ADDRESS},
        **record({"home": {"$ref": "#/$defs/address"}, "to": {"$ref": "#/$defs/address"}}, "to"),
    },
    "old definitions": {
        "definitions": {"id": {"type": "string", "pattern": "^[A-F0-9]{8}$"}},
        "type": "array",
        "items": {"$ref": "#/definitions/id"},
        "minItems": 1,
    },
    "recursion": TREE,
    "recursion to the root": record({"name": STRING, "next": {"$ref": "#"}}, "next"),
    "chain of thought": record({"steps": {"type": "array", "items": STEP}, "answer": STRING}),
    "nested arrays": {
        "type": "array",
        "items": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2},
        "maxItems": 4,
    },
    "tuple": {"type": "array", "prefixItems": [STRING, INTEGER], "items": False, "minItems": 2},
    "old tuple": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [STRING, BOOLEAN],
        "additionalItems": False,
    },
    "array of enums": {"type": "array", "items": {"enum": ["r", "g"]}, "minItems": 3},
    "bounded integer": record({"rating": {**INTEGER, "minimum": 1, "maximum": 5}}),
    "open bounds": record({"p": {**NUMBER, "exclusiveMinimum": 0, "exclusiveMaximum": 1}}),
    "negative bounds": record({"t": {**INTEGER, "minimum": -40, "maximum": -7}}),
    "multiple": record({"quarter": {**INTEGER, "multipleOf": 15, "minimum": 0, "maximum": 60}}),
    "lengths": record({"code": {**STRING, "minLength": 3, "maxLength": 6}}),
    "pattern": record({"plate": {**STRING, "pattern": "^[A-Z]{1,3}-[A-Z]{1,2} [1-9][0-9]{0,3}$"}}),
    "pattern anywhere": record({"word": {**STRING, "pattern": "[aeiou]{2}", "maxLength": 20}}),
    "dates": record(
        {"day": {**STRING, "format": "date"}, "at": {**STRING, "format": "date-time"},
         "for": {**STRING, "format": "duration"}, "time": {**STRING, "format": "time"}}
    ),
    "addresses of things": record(
        {"mail": {**STRING, "format": "email"}, "id": {**STRING, "format": "uuid"},
         "ip": {**STRING, "format": "ipv4"}, "site": {**STRING, "format": "uri"}}
    ),
    "format nobody knows": record({"x": {**STRING, "format": "phone"}, "n": {"format": "int32"}}),
    "names like keywords": record({"not": STRING, "if": INTEGER, "format": BOOLEAN, "$ref": {}}),
    "names to escape": record({'say "hi"': INTEGER, "back\\slash": INTEGER, "ünï/b~c": INTEGER}),
    "annotations": record(
        {"q": {**STRING, "title": "Q", "description": "d", "examples": ["x"], "deprecated": True}},
        title="Annotated",
        **{"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "c"},
    ),
    "function call": record(
        {"name": {"const": "get_weather"},
         "arguments": record({"city": STRING, "unit": {"enum": ["C", "F"]}}, "unit")}
    ),
    "extraction": record(
        {"people": {"type": "array", "maxItems": 3,
                    "items": record({"name": STRING, "role": {"type": ["string", "null"]}})},
         "confidence": {**NUMBER, "minimum": 0, "maximum": 1}}
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[Any, str]] = {
    "not": ({"not": {"type": "string"}}, "'not' at #"),
    "deep not": (record({"a": {"anyOf": [{"not": {}}]}}), "'not' at #/properties/a/anyOf/0"),
    "if": ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, "'if' at #"),
    "unique items": ({"type": "array", "items": {"uniqueItems": True}}, "'uniqueItems' at #/items"),
    "contains": ({"contains": {"const": 1}}, "'contains'"),
    "property names": ({"propertyNames": {"pattern": "^a"}}, "'propertyNames'"),
    "dependent": ({"dependentRequired": {"a": ["b"]}}, "'dependentRequired'"),
    "unevaluated": ({"unevaluatedProperties": False}, "'unevaluatedProperties'"),
    "old exclusive minimum": ({"minimum": 1, "exclusiveMinimum": True}, "exclusiveMinimum at #"),
    "not a schema": ({"properties": {"a": "string"}}, "#/properties/a must be a schema"),
    "not a schema at all": ([1], "# must be a schema"),
    "nothing": (False, "false"),
    "overlapping oneOf": ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
    "impossible": ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    "endless": ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, ""),
    "remote reference": ({"$ref": "https://example.com/s.json"}, "example.com"),
    "dangling reference": ({"$ref": "#/$defs/gone"}, "gone"),
    "unknown type": ({"type": "text"}, "text"),
    "look-ahead": ({"type": "string", "pattern": "^(?!x)"}, "look-around"),
    "loosened": ({"x-guidance": {"lenient": True}, "not": {}}, "'not'"),
}  # fmt: skip
