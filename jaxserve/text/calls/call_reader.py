"""Which call do a format's parts make, one after the other?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxserve.text.calls.description import (
    Arguments,
    JSONCall,
    Name,
    Part,
    PythonArguments,
    Skipped,
    Tagged,
)
from jaxserve.text.calls.json_call import JSONCallReader
from jaxserve.text.calls.python_arguments import PythonArgumentsReader
from jaxserve.text.calls.reading import (
    ArgumentsReader,
    Call,
    LiteralReader,
    NameReader,
    PartReader,
    SkippedReader,
)
from jaxserve.text.calls.tagged import TaggedReader

Schemas = Mapping[str, Any]


class CallReader:
    """One call, read one character at a time.

    `ended` once nothing more belongs to it, `unread` is what came after it; `broken` when it
    cannot become a call. What should follow complete arguments and does not is not missed.
    """

    def __init__(self, parts: tuple[Part, ...], schemas: Schemas) -> None:
        self.call = Call()
        self.ended = False
        self.broken = False
        self.unread = ""
        self.text = ""
        self.loose = ""  # read since the last piece of arguments
        self._parts = list(parts)
        self._schemas = schemas
        self._reader = self._next_reader()
        self._since_complete = ""

    def push(self, char: str) -> None:
        self.text += char
        num_added = self.call.num_added
        pending = char
        while pending and not (self.ended or self.broken):
            pending = self._read(pending[0]) + pending[1:]
        self.unread += pending
        self.loose = "" if self.call.num_added != num_added else self.loose + char

    def _read(self, char: str) -> str:
        """Have the current part take `char`; returns what has to be read again."""
        was_complete = self.call.complete
        self._reader.push(char)
        if was_complete:
            self._since_complete += char
        if self._reader.broken:
            self._break_off()
            return ""
        if not self._reader.done:
            return ""
        unread = self._reader.unread
        self._since_complete = self._since_complete if unread else ""
        self._advance()
        return unread

    def _break_off(self) -> None:
        if self.call.complete:
            self.ended, self.unread = True, self._since_complete
        else:
            self.broken = True

    def _advance(self) -> None:
        if self._parts:
            self._reader = self._next_reader()
        else:
            self.ended = True

    def _next_reader(self) -> PartReader:
        part = self._parts.pop(0)
        if isinstance(part, str):
            return LiteralReader(part)
        if isinstance(part, Name):
            return NameReader(self.call, part.stops)
        if isinstance(part, Skipped):
            return SkippedReader(part.opening)
        if isinstance(part, Tagged):
            return TaggedReader(self.call, part, self._schemas)
        if isinstance(part, JSONCall):
            return JSONCallReader(self.call, needs_arguments=part.needs_arguments)
        return _READERS[type(part)](self.call)


_READERS = {
    Arguments: ArgumentsReader,
    PythonArguments: PythonArgumentsReader,
}
