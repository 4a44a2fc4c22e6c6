"""Which tool calls are in this text, written in this format?

Works character by character, so a stream and a whole text give the same calls. Text that does not
make a call is content, and none is lost.
"""

from __future__ import annotations

from jaxserve.text.calls.call_reader import CallReader, Schemas
from jaxserve.text.calls.description import ToolFormat
from jaxserve.text.calls.events import CallArguments, CallName, Content, Event, joined
from jaxserve.text.calls.scan import Scan, plain_run


class ToolCallParser:
    """Text in, events out. `num_complete` counts calls whose arguments have ended.

    A call is announced when its name is known and its arguments begin. What is malformed before
    that comes out as content, markers included; a call cut short after that keeps the arguments
    it had. Whitespace around calls is not content. With `whole` a call is told when it is
    complete, at once, and one that is cut short is content.
    """

    def __init__(self, form: ToolFormat, schemas: Schemas, *, whole: bool = False) -> None:
        self.num_complete = 0
        self._form = form
        self._schemas = schemas
        self._whole = whole
        self._index = 0  # of the next call, or the one being read
        self._withheld = ""  # blanks and markers: dropped if a call follows, else content
        self._call: CallReader | None = None
        self._announced = False
        self._num_broken = 0  # of the calls before that one
        self._at_start = True  # nothing but blanks came yet
        self._after_call = False  # only blanks since a call, so what closes it may come
        self._scan = self._new_scan()
        bare = ("{",) if "" in form.at_start else ()
        self._plain = plain_run((*form.literals, *form.next_call, *bare))

    def push(self, text: str) -> list[Event]:
        """The events that `text` completes."""
        events: list[Event] = []
        place = 0
        while place < len(text):
            run = None if self._call or self._scan.begun else self._plain.match(text, place)
            if run is None:
                self._read(text[place], events)
                place += 1
            else:  # the same, much faster
                self._show(self._withheld + run[0], events)
                place = run.end()
        if self._call is not None:
            self._pass_arguments(self._call, events)
        return joined(events)

    def finish(self) -> list[Event]:
        """What is left when the text has ended."""
        left = self._withheld
        if self._call is not None:
            left = "" if self._announced else left + self._call.text
        elif self._after_call and self._may_close():
            left = ""
        self._withheld, self._call = "", None
        return [Content(left)] if left else []

    def _read(self, char: str, events: list[Event]) -> None:
        if self._call is not None:
            self._read_call(self._call, char, events)
        elif self._begins_bare(char):
            self._begin_call()
            self._read(char, events)
        else:
            self._read_between(char, events)

    def _begins_bare(self, char: str) -> bool:
        """Whether a call that needs no opening may begin here."""
        bare = self._at_start and "" in self._form.at_start
        return bare and not char.isspace() and char == "{" and not self._scan.begun

    def _read_between(self, char: str, events: list[Event]) -> None:
        had_begun = self._scan.begun
        if self._scan.push(char):
            self._withheld += char
            if self._scan.matched is not None:
                self._take_marker(self._scan.matched)
        elif had_begun:
            self._show(self._withheld, events)
            self._read(char, events)  # it may begin a marker itself
        elif char.isspace():
            self._withheld += char
            self._scan = self._new_scan()
        else:
            self._show(self._withheld + char, events)

    def _take_marker(self, marker: str) -> None:
        if self._after_call and marker in self._closing():
            self._withheld = ""
            self._scan = self._new_scan()
        else:
            self._begin_call(num_parts_read=int(marker == self._form.call[0]))

    def _begin_call(self, *, num_parts_read: int = 0) -> None:
        parts = self._form.call[num_parts_read:]
        self._call, self._announced = CallReader(parts, self._schemas), False

    def _show(self, text: str, events: list[Event]) -> None:
        """Blanks at the end stay withheld: a call may follow them."""
        shown = text.rstrip()
        if shown:
            events.append(Content(shown))
            self._at_start = self._after_call = False
        self._withheld = text[len(shown) :]
        self._scan = self._new_scan()

    def _read_call(self, call: CallReader, char: str, events: list[Event]) -> None:
        call.push(char)
        if call.broken:
            self._give_up(call, events)
            self._read(char, events)
        elif call.ended:
            self._end_call(call, events)
            for unread in call.unread:
                self._read(unread, events)

    def _give_up(self, call: CallReader, events: list[Event]) -> None:
        """All but the character that broke the call becomes content, unless it was announced."""
        self._pass_arguments(call, events)
        self._call = None
        if self._announced:
            self._index += 1
            self._num_broken += 1
            self._show(call.loose[:-1], events)
        else:
            self._show(self._withheld + call.text[:-1], events)
        self._at_start = self._after_call = False

    def _end_call(self, call: CallReader, events: list[Event]) -> None:
        self._pass_arguments(call, events)
        self._index += 1
        self._call, self._withheld = None, ""
        self._at_start, self._after_call = False, True
        self._scan = self._new_scan()

    def _pass_arguments(self, call: CallReader, events: list[Event]) -> None:
        if call.call.name is None or not call.call.begun:
            return
        if self._whole and not call.call.complete:
            return
        if not self._announced:
            self._announced, self._withheld = True, ""
            events.append(CallName(self._index, call.call.name))
        events.append(CallArguments(self._index, call.call.take_arguments()))
        self.num_complete = self._index + call.call.complete - self._num_broken

    def _may_close(self) -> bool:
        return not self._scan.begun or bool({*self._closing()} & {*self._scan.possible})

    def _closing(self) -> tuple[str, ...]:
        return tuple(text for text in (self._form.end, *self._form.strays) if text)

    def _new_scan(self) -> Scan:
        """What may come here beside content."""
        form = self._form
        texts = [*form.begins]
        if self._at_start:
            texts += [text for text in form.at_start if text]
        if self._after_call:
            texts += self._closing()
            texts += form.next_call
        return Scan(texts)
