"""What do gpt-oss's channels say? Reasoning, calls and answers as messages with headers (harmony).

`<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...`: a
message goes to whom its header names (`to=functions.f` is a call, whose body is its arguments),
else its channel decides.
"""

from __future__ import annotations

import re

from jaxserve.text.calls.events import (
    CallArguments,
    CallName,
    Content,
    Event,
    Reasoning,
    joined,
)
from jaxserve.text.calls.reading import Extent
from jaxserve.text.calls.scan import Scan

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
REASONING_CHANNEL = "analysis"
MAX_HEADER_CHARS = 1024

_PARTS = re.compile(r"<|[^<]+")
_RECIPIENT = re.compile(r"to=([^\s<]+)")
_FUNCTION = re.compile(r"functions\.(.+)")
_CHANNEL_NAME = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")


class ChannelParser:
    """Text in, events out. Text outside of any message is content.

    With `reads_calls` false a call's body is content too. A header that the text ends in says
    nothing to anybody and is dropped; one that never ends is content. With `whole` a call is told
    when it is complete, and the body of one that is cut short is content.
    """

    takes_all = False

    def __init__(self, *, reads_calls: bool, whole: bool = False) -> None:
        self.num_complete = 0
        self._reads_calls = reads_calls
        self._whole = whole
        self._untold: list[Event] = []  # of a call that is told when it is complete
        self._index = 0
        self._scan = Scan(MARKERS)
        self._marker = ""  # withheld: how far a marker has been read
        self._header: str | None = None  # of the message that begins
        self._call: int | None = None  # the index of the call that is read
        self._arguments = Extent()
        self._is_reasoning = False

    @property
    def inside_reasoning(self) -> bool:
        return self._is_reasoning

    @property
    def _after_arguments(self) -> bool:
        return self._call is not None and self._arguments.ended

    def push(self, text: str) -> list[Event]:
        events: list[Event] = []
        for part in _PARTS.findall(text):
            if self._marker or part == "<":
                for char in part:
                    self._read(char, events)
            else:
                self._plain(part, events)
        return joined(events)

    def finish(self) -> list[Event]:
        """What is left when the text has ended."""
        events: list[Event] = []
        if self._header is None and self._marker and self._call is None:
            self._say(self._marker, events)
        self._marker = ""
        self._let_go(events)
        return joined(events)

    def _read(self, char: str, events: list[Event]) -> None:
        if not self._marker and char != "<":
            self._plain(char, events)
        elif self._scan.push(char):
            self._marker += char
            if self._scan.matched is not None:
                self._take_marker(self._scan.matched, events)
                self._marker, self._scan = "", Scan(MARKERS)
        else:
            left, self._marker, self._scan = self._marker, "", Scan(MARKERS)
            self._plain(left, events)
            self._read(char, events)

    def _plain(self, text: str, events: list[Event]) -> None:
        if self._header is None:
            self._say(text, events)
            return
        self._header += text
        if len(self._header) > MAX_HEADER_CHARS:
            events.append(Content(self._header))
            self._header = None

    def _take_marker(self, marker: str, events: list[Event]) -> None:
        if marker in (END, CALL, RETURN):
            self._end_message(events)
        elif marker == MESSAGE:
            self._begin_message(self._header or "", events)
        else:
            if self._header is None:
                self._end_message(events)
            self._header = (self._header or "") + marker

    def _begin_message(self, header: str, events: list[Event]) -> None:
        self._end_message(events)
        recipient, channel = _RECIPIENT.search(header), _CHANNEL_NAME.search(header)
        function = _FUNCTION.fullmatch(recipient[1]) if recipient else None
        if self._reads_calls and function:
            self._call, self._arguments = self._index, Extent()
            self._tell(CallName(self._index, function[1]), events)
            self._index += 1
        elif recipient is None and channel is not None:
            self._is_reasoning = channel[1] == REASONING_CHANNEL

    def _end_message(self, events: list[Event]) -> None:
        if self._call is not None and not self._arguments.begun:
            self._say("{}", events)
        self._let_go(events)

    def _let_go(self, events: list[Event]) -> None:
        told_of = [event.text for event in self._untold if isinstance(event, CallArguments)]
        events.append(Content("".join(told_of)))
        self._untold = []
        self._header, self._call, self._is_reasoning = None, None, False

    def _say(self, text: str, events: list[Event]) -> None:
        if self._after_arguments:
            events.append(Content(text if text.strip() else ""))
        elif self._call is not None:
            self._extend_arguments(text)
            self._tell(CallArguments(self._call, text), events)
        elif self._is_reasoning:
            events.append(Reasoning(text))
        else:
            events.append(Content(text))

    def _tell(self, event: CallName | CallArguments, events: list[Event]) -> None:
        self._untold.append(event)
        if not self._whole or self._arguments.ended:
            events += self._untold
            self._untold = []

    def _extend_arguments(self, text: str) -> None:
        had_ended = self._arguments.ended
        for char in text:
            self._arguments.push(char)
        self.num_complete += self._arguments.ended and not had_ended
