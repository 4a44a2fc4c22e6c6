"""What do the readers of a call's parts have in common? And the small ones among them.

A reader takes one character at a time until it is `done` or `broken`. What a reader has read and
is not its own is `unread` when it is done, and belongs to the part after it.
"""

from __future__ import annotations

from jaxserve.text.calls.scan import Literal

BLANKS = " \t\r\n"
MAX_NAME_CHARS = 256


class Call:
    """What has been read of one call. `complete` once nothing can be added to its arguments."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.complete = False
        self.num_added = 0  # pieces of arguments
        self._arguments: list[str] = []  # not taken yet

    def add(self, text: str) -> None:
        """The next piece of the arguments' JSON."""
        self._arguments.append(text)
        self.num_added += 1

    @property
    def begun(self) -> bool:
        """Whether any arguments have been read."""
        return self.num_added > 0

    def take_arguments(self) -> str:
        """The arguments read since the last time."""
        taken, self._arguments = "".join(self._arguments), []
        return taken


class Extent:
    """How deep in brackets and strings a JSON value is, and when it has ended."""

    def __init__(self) -> None:
        self.in_string = False
        self.depth = 0
        self.begun = False
        self.ended = False
        self._escaped = False

    def push(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif self.in_string:
            self._escaped = char == "\\"
            self.in_string = char != '"'
        elif char == '"':
            self.in_string = True
        elif char in "{[":
            self.begun = True
            self.depth += 1
        elif char in "}]":
            self.depth -= 1
            self.ended = self.ended or self.depth == 0


class PartReader:
    """Reads one part."""

    def __init__(self) -> None:
        self.done = False
        self.broken = False
        self.unread = ""

    def push(self, char: str) -> None:
        """Take one character; not called any more once done or broken."""
        raise NotImplementedError


class LiteralReader(PartReader):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._literal = Literal(text)

    def push(self, char: str) -> None:
        self.broken = not self._literal.push(char)
        self.done = self._literal.matched


class NameReader(PartReader):
    def __init__(self, call: Call, stops: str) -> None:
        super().__init__()
        self._call = call
        self._stops = stops
        self._name = ""

    def push(self, char: str) -> None:
        if not char.isspace() and char not in self._stops:
            self._name += char
            self.broken = char in "{}\"'" or len(self._name) > MAX_NAME_CHARS
        elif self._name:
            self._call.name, self.unread, self.done = self._name, char, True
        else:
            self.broken = not char.isspace()


class SkippedReader(PartReader):
    """Done at once when the opening is not there; else at the first `[` after the word."""

    def __init__(self, opening: str) -> None:
        super().__init__()
        self._literal = Literal(opening)
        self._read = ""

    def push(self, char: str) -> None:
        if self._literal.matched:
            self.done = char == "["
            self.unread = char if self.done else ""
            return
        self._read += char
        if not self._literal.push(char):
            self.unread, self.done = self._read, True


class ArgumentsReader(PartReader):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._extent = Extent()

    def push(self, char: str) -> None:
        if not self._extent.depth and char != "{":
            self.broken = not char.isspace()
            return
        self._call.add(char)
        self._extent.push(char)
        if self._extent.ended:
            self._call.complete = self.done = True
