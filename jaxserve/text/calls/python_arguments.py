"""Which arguments do Python's keyword arguments give? `a=1, b='x')` as a JSON object.

An argument is passed on when it is complete. JSON's spelling of constants is understood too.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

from jaxserve.text.calls.json_types import dump, refuse_constant
from jaxserve.text.calls.reading import MAX_NAME_CHARS, Call, PartReader

_CONSTANTS = {"true": True, "false": False, "null": None}
_QUOTES = "\"'"


class PythonArgumentsReader(PartReader):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._expect: Callable[[str], None] = self._in_key
        self._key = ""

    def push(self, char: str) -> None:
        self._expect(char)

    def _in_key(self, char: str) -> None:
        if char == ")" and not self._key.strip():
            self._complete()
        elif char == "=":
            self._key = self._key.strip()
            self.broken = not self._key.isidentifier()
            self._value, self._expect = _ValueExtent(), self._in_value
        else:
            self._key += char
            self.broken = len(self._key) > MAX_NAME_CHARS or not (char.isspace() or _in_name(char))

    def _in_value(self, char: str) -> None:
        if not (self._value.could_end and char in ",)"):
            self._value.push(char)
            return
        try:
            written = _json_of(self._value.text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            self.broken = True
            return
        self._call.add(", " if self._call.begun else "{")
        self._call.add(json.dumps(self._key, ensure_ascii=False) + ": " + written)
        self._key, self._expect = "", self._in_key
        if char == ")":
            self._complete()

    def _complete(self) -> None:
        self._call.add("}" if self._call.begun else "{}")
        self._call.complete = self.done = True


class _ValueExtent:
    """A Python literal so far, and whether it could end here."""

    def __init__(self) -> None:
        self.text = ""
        self._depth = 0
        self._quote = ""  # of the string being read
        self._delimiter = ""  # what ends it; not known while its first quotes are read
        self._run = 0  # quotes in a row, just read
        self._escaped = False

    @property
    def could_end(self) -> bool:
        empty_string = not self._delimiter and self._run == 2
        return self._depth == 0 and (not self._quote or empty_string)

    def push(self, char: str) -> None:
        self.text += char
        if self._quote and not self._delimiter and self._opens(char):
            return
        if self._delimiter:
            self._in_string(char)
        elif char in _QUOTES:
            self._quote, self._run = char, 1
        elif char in "([{":
            self._depth += 1
        elif char in ")]}":
            self._depth -= 1

    def _opens(self, char: str) -> bool:
        """Whether `char` is one of the quotes that a string begins with."""
        if char == self._quote:
            self._run += 1
            if self._run == 3:
                self._delimiter, self._run = char * 3, 0
            return True
        if self._run == 1:
            self._delimiter = self._quote
        else:  # it was an empty string
            self._quote = ""
        self._run = 0
        return False

    def _in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == self._quote:
            self._run += 1
            if self._run == len(self._delimiter):
                self._quote, self._delimiter, self._run = "", "", 0
        else:
            self._escaped, self._run = char == "\\", 0


def _in_name(char: str) -> bool:
    return char.isalnum() or char == "_"


def _json_of(text: str) -> str:
    try:
        json.loads(text, parse_constant=refuse_constant)
        return text
    except ValueError:
        return dump(_value_of(ast.parse(text, mode="eval").body))


def _value_of(node: ast.expr) -> Any:
    """The value of a literal; raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value_of(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value_of(key): _value_of(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    return ast.literal_eval(node)  # a number with a sign
