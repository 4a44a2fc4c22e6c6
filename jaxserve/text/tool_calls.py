"""Which tool calls are in this text, written the Hermes way?

`<tool_call>{"name": "f", "arguments": {...}}</tool_call>`, any number of times after and between
plain text. Works character by character, so a stream and a whole text give the same calls.
Arguments are passed on exactly as the model wrote them. Text that does not make a call is content.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxserve.text.call_object import CallObject

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class Content:
    """Text outside tool calls."""

    text: str


@dataclass(frozen=True, slots=True)
class CallName:
    """A call begins; `index` counts the calls of the text."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next piece of a call's arguments, a JSON object once joined."""

    index: int
    text: str


ToolEvent = Content | CallName | CallArguments


class ToolCallParser:
    """Text in, events out. `num_complete` counts calls whose JSON object has ended.

    A call is announced when its name is known and its arguments begin. What is malformed before
    that comes out as content, markers included; a call cut short after that keeps the arguments
    it had. Whitespace around calls is not content.
    """

    def __init__(self) -> None:
        self.num_complete = 0
        self._index = 0  # of the next call, or the one being read
        self._blanks = ""  # withheld: dropped if a call follows
        self._marker = ""  # withheld: how far a marker has been read
        self._call: CallObject | None = None
        self._announced = False
        self._after_call = False  # only blanks since a call, so its closing marker may come

    def push(self, text: str) -> list[ToolEvent]:
        """The events that `text` completes."""
        events: list[ToolEvent] = []
        for char in text:
            if self._call is None:
                self._read_content(char, events)
            else:
                self._read_call(self._call, char, events)
        if self._call is not None:
            self._pass_arguments(self._call, events)
        return _joined(events)

    def finish(self) -> list[ToolEvent]:
        """What is left when the text has ended."""
        left = self._blanks + self._marker
        if self._call is not None:
            left = "" if self._announced else self._blanks + OPEN + self._call.text
        elif self._after_call and CLOSE.startswith(self._marker):
            left = ""
        self._blanks, self._marker, self._call = "", "", None
        return [Content(left)] if left else []

    def _read_content(self, char: str, events: list[ToolEvent]) -> None:
        if self._continues_marker(char):
            self._marker += char
            self._take_marker()
            return
        if self._marker:
            self._show(self._marker, events)
            self._marker = ""
            self._read_content(char, events)  # it may begin a marker itself
        elif char.isspace():
            self._blanks += char
        else:
            self._show(char, events)

    def _continues_marker(self, char: str) -> bool:
        marker = self._marker + char
        return OPEN.startswith(marker) or (self._after_call and CLOSE.startswith(marker))

    def _take_marker(self) -> None:
        if self._marker == OPEN:
            self._call, self._announced, self._marker = CallObject(), False, ""
        elif self._marker == CLOSE:
            self._blanks = self._marker = ""

    def _show(self, text: str, events: list[ToolEvent]) -> None:
        events.append(Content(self._blanks + text))
        self._blanks, self._after_call = "", False

    def _read_call(self, call: CallObject, char: str, events: list[ToolEvent]) -> None:
        call.push(char)
        if call.broken and not call.is_call:
            self._call = None
            malformed = OPEN + call.text[:-1]
            self._show(malformed.rstrip(), events)
            self._blanks = malformed[len(malformed.rstrip()) :]
        elif call.broken or call.ended:
            self._pass_arguments(call, events)
            self.num_complete += 1
            self._index += 1
            self._call, self._after_call = None, True
        if call.broken:
            self._read_content(char, events)

    def _pass_arguments(self, call: CallObject, events: list[ToolEvent]) -> None:
        if call.name is None or not call.has_arguments:
            return
        if not self._announced:
            self._announced, self._blanks = True, ""
            events.append(CallName(self._index, call.name))
        events.append(CallArguments(self._index, call.take_arguments()))


def _joined(events: list[ToolEvent]) -> list[ToolEvent]:
    """The same events with neighbours of one kind made one, and empty ones left out."""
    joined: list[ToolEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Content) and isinstance(last, Content):
            joined[-1] = Content(last.text + event.text)
        elif isinstance(event, CallName) or event.text:
            joined.append(event)
    return joined
