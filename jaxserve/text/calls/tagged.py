"""Which arguments do tagged parameters give? Keys and bare values, as JSON by the tool's schema.

A string is passed on while it is written; a value of another type when it is complete, since only
then its JSON is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from jaxserve.text.calls.description import Tagged
from jaxserve.text.calls.json_types import STRING, json_of, parameter_types
from jaxserve.text.calls.reading import MAX_NAME_CHARS, Call, PartReader
from jaxserve.text.calls.scan import Literal, Scan


class TaggedReader(PartReader):
    """`schemas` are the parameters of each tool, by name."""

    def __init__(self, call: Call, part: Tagged, schemas: Mapping[str, Any]) -> None:
        super().__init__()
        self._call = call
        self._part = part
        self._schemas = schemas
        self._expect: Callable[[str], None] = self._between
        self._end = f"\n{part.value_close}" if part.lines else part.value_close
        self._begin_between()

    def push(self, char: str) -> None:
        self._expect(char)

    def _begin_between(self) -> None:
        self._scan = Scan((self._part.key_open, self._part.close))
        self._read = ""
        self._expect = self._between

    def _between(self, char: str) -> None:
        self._read += char
        if not self._scan.push(char):
            self.broken = not self._call.begun
            if not self.broken:
                self._complete(unread=self._read)
        elif self._scan.matched == self._part.close:
            self._complete(unread="")
        elif self._scan.matched is not None:
            self._key, self._close, self._expect = "", "", self._in_key

    def _complete(self, *, unread: str) -> None:
        self._call.add("}" if self._call.begun else "{}")
        self._call.complete = self.done = True
        self.unread = unread

    def _in_key(self, char: str) -> None:
        self._key += char
        first = self._part.key_close.split()[0]
        if self._key.endswith(first):
            self._key = self._key.removesuffix(first).strip()
            self._opening = Literal(self._part.key_close)
            for known in first:
                self._opening.push(known)
            self._expect = self._in_opening
            if self._opening.matched:
                self._begin_value()
        self.broken = len(self._key) > MAX_NAME_CHARS

    def _in_opening(self, char: str) -> None:
        self.broken = not self._opening.push(char)
        if self._opening.matched:
            self._begin_value()

    def _begin_value(self) -> None:
        schema = self._schemas.get(self._call.name or "")
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        own = properties.get(self._key) if isinstance(properties, Mapping) else None
        self._types = parameter_types(own, schema)
        self._value, self._held = "", ""
        self._call.add(", " if self._call.begun else "{")
        self._call.add(json.dumps(self._key, ensure_ascii=False) + ": ")
        if self._types == STRING:
            self._call.add('"')
        self._expect, self._is_first = self._in_value, True

    def _in_value(self, char: str) -> None:
        self._held += char
        while not (self._end.startswith(self._held) or self._begins_close()):
            self._take(self._held[0])
            self._held = self._held[1:]
        if self._held in (self._end, self._part.value_close):
            self._end_value()

    def _begins_close(self) -> bool:
        return self._part.value_close.startswith(self._held)

    def _take(self, char: str) -> None:
        before_first_line = self._is_first and self._part.lines and char == "\n"
        self._is_first = False
        if before_first_line:
            return
        if self._types == STRING:
            self._call.add(json.dumps(char, ensure_ascii=False)[1:-1])
        else:
            self._value += char

    def _end_value(self) -> None:
        string = self._types == STRING
        self._call.add('"' if string else json_of(self._value, self._types))
        self._begin_between()
