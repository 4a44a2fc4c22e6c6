"""Where are the name and the arguments in a tool call's JSON object, as it is being written?

Reads one character at a time. Knows strings, brackets and the keys of the outer object; what is
inside the arguments is passed on as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable

_BLANK = " \t\r\n"
_ARGUMENT_KEYS = ("arguments", "parameters")


class CallObject:
    """`{"name": ..., "arguments": ...}` so far; keys in any order, others ignored.

    `ended` once the object is complete; `broken` at the first character after which it cannot
    become a call. Arguments may also be a string that holds the object; none at all are `{}`.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.has_arguments = False  # at least their first character
        self.ended = False
        self.broken = False
        self._chars: list[str] = []
        self._arguments: list[str] = []  # not taken yet
        self._expect: Callable[[str], None] = self._start
        self._end_string: Callable[[str], None] = self._end_key
        self._token: list[str] = []  # the string or scalar being read
        self._key = ""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._is_arguments = False

    @property
    def text(self) -> str:
        return "".join(self._chars)

    @property
    def is_call(self) -> bool:
        return self.name is not None and self.has_arguments

    def push(self, char: str) -> None:
        self._chars.append(char)
        self._expect(char)

    def take_arguments(self) -> str:
        """The arguments read since the last time."""
        taken, self._arguments = "".join(self._arguments), []
        return taken

    def _start(self, char: str) -> None:
        if char == "{":
            self._expect = self._key_or_end
        else:
            self.broken = char not in _BLANK

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
            self.broken = char not in _BLANK

    def _value(self, char: str) -> None:
        if char in _BLANK:
            return
        if char == '"':
            self._begin_string(self._end_string_value)
        elif char in "{[":
            self._begin_nested(char)
        else:
            self._token, self._expect = [char], self._in_scalar

    def _begin_string(self, end: Callable[[str], None]) -> None:
        self._token, self._end_string, self._expect = ['"'], end, self._string

    def _string(self, char: str) -> None:
        self._token.append(char)
        if not self._closes_string(char):
            return
        try:
            self._end_string(json.loads("".join(self._token), strict=False))
        except ValueError:
            self.broken = True

    def _end_string_value(self, text: str) -> None:
        self._expect = self._comma_or_end
        if self._key == "name" and self.name is None:
            self.name = text
            self.broken = not text
        elif self._begins_arguments():
            self._arguments.append(text)
            self.has_arguments = True

    def _begin_nested(self, char: str) -> None:
        self._is_arguments = self._begins_arguments()
        self.broken = self._key == "name" or (self._is_arguments and char == "[")
        if self.broken:
            return
        self._depth, self._in_string, self._expect = 0, False, self._in_nested
        self.has_arguments = self.has_arguments or self._is_arguments
        self._in_nested(char)

    def _in_nested(self, char: str) -> None:
        if self._is_arguments:
            self._arguments.append(char)
        if self._in_string:
            self._in_string = not self._closes_string(char)
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            if self._depth == 0:
                self._expect = self._comma_or_end

    def _in_scalar(self, char: str) -> None:
        if char not in _BLANK + ",}":
            self._token.append(char)
            return
        is_null = "".join(self._token) == "null"
        self.broken = self._key == "name" or (self._begins_arguments() and not is_null)
        self._expect = self._comma_or_end
        if not self.broken:
            self._comma_or_end(char)

    def _comma_or_end(self, char: str) -> None:
        if char == ",":
            self._expect = self._key_or_end
        else:
            self._end_or_blank(char)

    def _end_or_blank(self, char: str) -> None:
        if char != "}" or self.name is None:
            self.broken = char not in _BLANK
            return
        self.ended = True
        if not self.has_arguments:
            self._arguments.append("{}")
            self.has_arguments = True

    def _begins_arguments(self) -> bool:
        return self._key in _ARGUMENT_KEYS and not self.has_arguments

    def _closes_string(self, char: str) -> bool:
        if self._escaped:
            self._escaped = False
            return False
        self._escaped = char == "\\"
        return char == '"'
