"""Which texts are calls of these tools? A grammar, from the description that reads them.

Every text the grammar takes is read back as calls whose arguments satisfy the tools' schemas.
Raises GrammarRefused for what can not be held to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxserve.text.calls.bare_values import BareValues, check_keywords
from jaxserve.text.calls.call_reader import Schemas
from jaxserve.text.calls.description import (
    Arguments,
    JSONCall,
    Name,
    Part,
    Skipped,
    Tagged,
    ToolFormat,
)
from jaxserve.text.calls.json_types import resolve
from jaxserve.text.calls.lark import Lark
from jaxserve.text.json_schema import GrammarRefused

_NOT_IN_NAMES = "{}\"'"
_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class CallGrammar:
    """Adds the rules of a format's calls to a grammar.

    With `whole` a JSON object that is a call is one schema, so that it may begin like another.
    """

    def __init__(
        self, lark: Lark, form: ToolFormat, schemas: Schemas, *, whole: bool = False
    ) -> None:
        self._lark = lark
        self._form = form
        self._whole = whole
        self._schemas = {name: given or _NO_PARAMETERS for name, given in schemas.items()}

    def run(self, *, many: bool) -> str:
        """The rule for a run of calls behind its begin."""
        form, lark = self._form, self._lark
        call = lark.rule(" | ".join(self._call(name) for name in self._schemas))
        more = f"({lark.literal(form.between)} {call})*" if many and form.many_per_run else ""
        return lark.rule(f"{call} {more} {lark.literal(form.end)}")

    def _call(self, name: str) -> str:
        try:
            written = [self._part(part, name) for part in self._form.call]
        except GrammarRefused as refused:
            raise GrammarRefused(f"the tool {name[:80]!r}: {refused}") from None
        return self._lark.rule(" ".join(text for text in written if text))

    def _part(self, part: Part, name: str) -> str:
        lark, schema = self._lark, self._schemas[name]
        if isinstance(part, str):
            return lark.literal(part)
        if isinstance(part, Name):
            _refuse_letters(name, part.stops + _NOT_IN_NAMES, "the name of a tool")
            return lark.literal(name)
        if isinstance(part, Skipped):
            return ""
        if isinstance(part, Arguments):
            return lark.json(_as_object(schema))
        if isinstance(part, JSONCall) and self._whole:
            return lark.json(_whole_call(name, part.arguments, _as_object(schema)))
        if isinstance(part, JSONCall):
            opening = f'{{"name": {json.dumps(name)}, "{part.arguments}": '
            return f"{lark.text(opening)} {lark.json(_as_object(schema))} {lark.text('}')}"
        if isinstance(part, Tagged):
            return self._tagged(part, _Parameters(schema))
        return self._python(_Parameters(schema))

    def _tagged(self, part: Tagged, parameters: _Parameters) -> str:
        lark = self._lark
        values = BareValues(lark, part.value_close, lines=part.lines)
        written = []
        for key, schema in parameters.schemas.items():
            _refuse_letters(key, part.key_close[0] + "\n", f"the parameter {key!r}")
            opening = part.key_open + key + part.key_close + ("\n" if part.lines else "")
            value = values.rule(schema, where=f"the parameter {key!r}")
            one = f"{lark.literal(opening)} {value}"
            written.append(one if key in parameters.required else f"({one})?")
        return " ".join([*written, lark.literal(part.close)])

    def _python(self, parameters: _Parameters) -> str:
        written = []
        for key, schema in parameters.schemas.items():
            if not key.isidentifier():
                raise GrammarRefused(f"{key!r} is no name that a Python argument can have")
            is_bool = schema.get("type") == "boolean" and len(schema.keys() - {"$defs"}) <= 2
            value = '("True" | "False")' if is_bool else self._lark.json(schema)
            written.append((f"{self._lark.text(key + '=')} {value}", key in parameters.required))
        return f"{_listed(self._lark, written)} {self._lark.text(')')}"


class _Parameters:
    """The parameters of one tool, each with a schema that stands for itself."""

    def __init__(self, schema: Any) -> None:
        target = schema
        if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            target = resolve(schema["$ref"], schema)
        if not isinstance(target, Mapping) or any(key in target for key in ("anyOf", "oneOf")):
            raise GrammarRefused(
                "the parameters must be an object with properties: this model's format names them"
            )
        check_keywords(dict(target))
        properties = target.get("properties", {})
        self.required = [str(key) for key in target.get("required", ())]
        names = [*properties, *(key for key in self.required if key not in properties)]
        shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        self.schemas = {name: _standing_alone(properties.get(name, {}), shared) for name in names}


def _standing_alone(schema: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        raise GrammarRefused("a parameter must have a schema that is an object or true")
    return {**shared, **schema}


def _whole_call(name: str, key: str, schema: Any) -> dict[str, Any]:
    """The schema of a call as one object; what is shared within `schema` moves to the top."""
    shared = {part: schema[part] for part in ("$defs", "definitions") if part in schema}
    if any(not ref.startswith(("#/$defs/", "#/definitions/")) for ref in _references(schema)):
        raise GrammarRefused("it has a $ref to something else than its $defs")
    return {
        **shared,
        "type": "object",
        "properties": {"name": {"const": name}, key: schema},
        "required": ["name", key],
        "additionalProperties": False,
    }


def _references(schema: Any) -> Iterator[str]:
    inner = schema.values() if isinstance(schema, Mapping) else schema
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    if isinstance(inner, str | int | float | None):
        return
    for part in inner:
        yield from _references(part)


def _as_object(schema: Any) -> Any:
    if isinstance(schema, Mapping) and "type" not in schema and "$ref" not in schema:
        return {"type": "object", **schema}
    return schema


def _listed(lark: Lark, items: Sequence[tuple[str, bool]]) -> str:
    """Items with commas between them, of which some are required."""
    options = []
    for index, (first, required) in enumerate(items):
        rest = [f'(", " {item})' + ("" if needed else "?") for item, needed in items[index + 1 :]]
        options.append(" ".join([first, *rest]))
        if required:
            return lark.rule(" | ".join(options))
    return f"{lark.rule(' | '.join(options))}?" if options else ""


def _refuse_letters(text: str, letters: str, what: str) -> None:
    if any(char.isspace() or char in letters for char in text) or not text:
        raise GrammarRefused(
            f"{what} is {text!r}, which this model's format can not write: leave out blanks and "
            f"{' '.join(letters.strip())}"
        )
