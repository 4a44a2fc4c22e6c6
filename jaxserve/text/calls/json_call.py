"""Where are the name and the arguments in a tool call's JSON object, as it is being written?

Reads one character at a time. Knows strings, brackets and the keys of the outer object; what is
inside the arguments is passed on as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from jaxserve.text.calls.json_types import is_unicode
from jaxserve.text.calls.reading import BLANKS, Call, Extent, PartReader

_NAME_KEYS = ("name", "tool_name")
_ARGUMENT_KEYS = ("arguments", "parameters")


class JSONCallReader(PartReader):
    """`{"name": ..., "arguments": ...}`; keys in any order, others ignored.

    Arguments may also be a string that holds the object; none at all are `{}`, unless
    `needs_arguments`.
    """

    def __init__(self, call: Call, *, needs_arguments: bool = False) -> None:
        super().__init__()
        self._call = call
        self._needs_arguments = needs_arguments
        self._has_arguments = False
        self._expect: Callable[[str], None] = self._start
        self._end_string: Callable[[str], None] = self._end_key
        self._token: list[str] = []  # the string or scalar being read
        self._key = ""
        self._nested = Extent()
        self._is_arguments = False

    def push(self, char: str) -> None:
        self._expect(char)

    def _start(self, char: str) -> None:
        if char == "{":
            self._expect = self._key_or_end
        else:
            self.broken = not char.isspace()

    def _key_or_end(self, char: str) -> None:
        if char == '"':
            self._begin_string(self._end_key)
        else:
            self._end_or_blank(char)

    def _end_key(self, key: str) -> None:
        self._key, self._expect = key, self._colon

    def _colon(self, char: str) -> None:
        if char == ":":
            self._expect = self._value
        else:
            self.broken = char not in BLANKS

    def _value(self, char: str) -> None:
        if char in BLANKS:
            return
        if char == '"':
            self._begin_string(self._end_string_value)
        elif char in "{[":
            self._begin_nested(char)
        else:
            self._token, self._expect = [char], self._in_scalar

    def _begin_string(self, end: Callable[[str], None]) -> None:
        self._nested = Extent()
        self._nested.push('"')
        self._token, self._end_string, self._expect = ['"'], end, self._string

    def _string(self, char: str) -> None:
        self._token.append(char)
        self._nested.push(char)
        if self._nested.in_string:
            return
        try:
            self._end_string(json.loads("".join(self._token), strict=False))
        except ValueError:
            self.broken = True

    def _end_string_value(self, text: str) -> None:
        self._expect = self._comma_or_end
        if self._key in _NAME_KEYS and self._call.name is None:
            self._call.name = text
            self.broken = not text or not is_unicode(text)
        elif self._begins_arguments():
            self.broken = not is_unicode(text)
            self._call.add(text)
            self._has_arguments = True

    def _begin_nested(self, char: str) -> None:
        self._is_arguments = self._begins_arguments()
        self.broken = self._key in _NAME_KEYS or (self._is_arguments and char == "[")
        if self.broken:
            return
        self._nested, self._expect = Extent(), self._in_nested
        self._has_arguments = self._has_arguments or self._is_arguments
        self._in_nested(char)

    def _in_nested(self, char: str) -> None:
        if self._is_arguments:
            self._call.add(char)
        self._nested.push(char)
        if self._nested.ended:
            self._expect = self._comma_or_end

    def _in_scalar(self, char: str) -> None:
        if char not in BLANKS + ",}":
            self._token.append(char)
            return
        is_null = "".join(self._token) == "null"
        self.broken = self._key in _NAME_KEYS or (self._begins_arguments() and not is_null)
        self._expect = self._comma_or_end
        if not self.broken:
            self._comma_or_end(char)

    def _comma_or_end(self, char: str) -> None:
        if char == ",":
            self._expect = self._key_or_end
        else:
            self._end_or_blank(char)

    def _end_or_blank(self, char: str) -> None:
        if char != "}" or self._call.name is None:
            self.broken = char not in BLANKS
            return
        if not self._has_arguments:
            if self._needs_arguments:
                self.broken = True
                return
            self._call.add("{}")
        self._call.complete = self.done = True

    def _begins_arguments(self) -> bool:
        return self._key in _ARGUMENT_KEYS and not self._has_arguments
