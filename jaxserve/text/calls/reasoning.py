"""Which part of a text is reasoning, and which the answer?

Works character by character. Blanks around the reasoning and before the answer belong to neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxserve.text.calls.description import ReasoningFormat
from jaxserve.text.calls.scan import Scan, plain_run


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer, markers of other formats included."""

    text: str


Piece = Thought | Said


def opened_by(prompt: str, form: ReasoningFormat) -> bool:
    """Whether a text that continues `prompt` begins inside of reasoning."""
    end = prompt.rstrip()
    if end.endswith(form.closes):
        return False
    return form.implicit or end.endswith(form.opens)


class ReasoningParser:
    """Text in, pieces out. `inside` while reasoning is read."""

    def __init__(self, form: ReasoningFormat, *, inside: bool) -> None:
        self.inside = inside
        self._form = form
        self._withheld = ""
        self._scan = Scan(form.opens)
        self._plain = plain_run((*form.opens, *form.closes))
        self._expect: Callable[[str, list[Piece]], None] = self._at_start
        if inside:
            self._begin_reasoning()

    def push(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        place = 0
        while place < len(text):
            place = self._skip_plain(text, place, pieces) or place
            if place < len(text):
                self._expect(text[place], pieces)
                place += 1
        return pieces

    def finish(self) -> list[Piece]:
        """What is left when the text has ended."""
        left, self._withheld = self._withheld, ""
        if not self.inside:
            return [Said(left)] if left else []
        return [Thought(left)] if left.strip() else []

    def _skip_plain(self, text: str, place: int, pieces: list[Piece]) -> int | None:
        """Take in, much faster, what holds no marker; returns where that ends."""
        if self._expect == self._in_answer and not self._form.dropped:
            pieces.append(Said(text[place:]))
            return len(text)
        if self._expect != self._in_reasoning or self._scan.begun:
            return None
        run = self._plain.match(text, place)
        if run is None:
            return None
        self._scan = Scan(self._form.closes)
        self._think(self._withheld + run[0], pieces)
        return run.end()

    def _at_start(self, char: str, pieces: list[Piece]) -> None:
        self._withheld += char
        if not self._scan.push(char):
            left, self._withheld = self._withheld, ""
            self._begin_answer()
            for known in left:
                self._expect(known, pieces)
        elif self._scan.matched is not None:
            self._begin_reasoning()

    def _begin_reasoning(self) -> None:
        self.inside, self._withheld = True, ""
        # A model may write the beginning that its prompt already has.
        self._scan = Scan((*self._form.opens, *self._form.closes))
        self._first = True
        self._expect = self._in_reasoning

    def _in_reasoning(self, char: str, pieces: list[Piece]) -> None:
        had_begun = self._scan.begun
        if self._scan.push(char):
            self._withheld += char
            if self._scan.matched in self._form.closes:
                self._end_reasoning()
            elif self._scan.matched is not None:
                self._begin_reasoning()
            return
        shown = self._withheld if had_begun else self._withheld + char
        self._scan = Scan(self._form.closes)
        self._think(shown, pieces)
        if had_begun:
            self._in_reasoning(char, pieces)

    def _think(self, text: str, pieces: list[Piece]) -> None:
        text = text.lstrip() if self._first else text
        shown = text.rstrip()
        if shown:
            self._first = False
            pieces.append(Thought(shown))
        self._withheld = text[len(shown) :]

    def _end_reasoning(self) -> None:
        self.inside, self._withheld = False, ""
        self._expect = self._before_answer

    def _before_answer(self, char: str, pieces: list[Piece]) -> None:
        if not char.isspace():
            self._begin_answer()
            self._expect(char, pieces)

    def _begin_answer(self) -> None:
        self._scan = Scan(self._form.dropped)
        self._expect = self._in_answer

    def _in_answer(self, char: str, pieces: list[Piece]) -> None:
        if not self._form.dropped:
            pieces.append(Said(char))
            return
        had_begun = self._scan.begun
        if self._scan.push(char):
            self._withheld += char
            if self._scan.matched is not None:
                self._withheld, self._scan = "", Scan(self._form.dropped)
            return
        left, self._withheld = self._withheld, ""
        self._scan = Scan(self._form.dropped)
        pieces.append(Said(left if had_begun else left + char))
        if had_begun:
            self._in_answer(char, pieces)
