"""Values that a JSON Schema describes, and now and then ones that it does not, for Hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]

MAX_DEPTH = 6
SMALL = 20
WORDS = st.sampled_from(["", "a", "tiny", "user", "é\u2028", "\x00", "<s>", "auto", "json_object"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | WORDS
ANYTHING = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=2) | st.dictionaries(WORDS, part, max_size=2)
)


def values_of(
    schema: Schema, parts: Mapping[str, Schema], depth: int = 0
) -> st.SearchStrategy[Any]:
    """One in eight is anything; `parts` are what `$ref` names by its last word."""
    if depth > MAX_DEPTH:
        return ANYTHING
    described = _described(schema, parts, depth)
    return st.integers(0, 7).flatmap(lambda draw: ANYTHING if draw == 7 else described)


def _described(schema: Schema, parts: Mapping[str, Schema], depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return values_of(parts[schema["$ref"].rpartition("/")[2]], parts, depth)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return st.one_of([values_of(option, parts, depth + 1) for option in schema[word]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    return _typed(schema, parts, depth)


def _typed(schema: Schema, parts: Mapping[str, Schema], depth: int) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "string":
            return WORDS
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "integer":
            low = schema.get("minimum", -1)
            return st.integers(low, max(low, min(schema.get("maximum", SMALL), SMALL)))
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 2))
        case "array":
            item = values_of(schema.get("items", {}), parts, depth + 1)
            return st.lists(item, min_size=schema.get("minItems", 0), max_size=3)
        case "object":
            return _object(schema, parts, depth)
        case _:
            return ANYTHING


def _object(schema: Schema, parts: Mapping[str, Schema], depth: int) -> st.SearchStrategy[Any]:
    fields = {
        name: values_of(part, parts, depth + 1)
        for name, part in schema.get("properties", {}).items()
    }
    required = {name: fields.pop(name) for name in schema.get("required", []) if name in fields}
    if not required and not fields:
        return st.dictionaries(WORDS, ANYTHING, max_size=2)
    some = (
        st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
        if fields
        else st.just([])
    )
    chosen = some.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))
    return st.tuples(st.fixed_dictionaries(required), chosen).map(lambda two: {**two[0], **two[1]})
