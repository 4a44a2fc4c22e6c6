"""Which of several literal texts comes next? Read one character at a time.

A blank in a literal stands for any number of blanks. The literals of one scan must differ before
the first of them ends, so the first to be complete is the one that is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def plain_run(texts: Iterable[str]) -> re.Pattern[str]:
    """What none of the literals can begin in: words, and the blanks between two of them."""
    first = re.escape("".join(sorted({text.split()[0][0] for text in texts})))
    word = rf"[^\s{first}]+"
    return re.compile(rf"{word}(?:\s+{word})*")


class Literal:
    """How far one literal has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words = text.split()
        self._word = 0
        self._place = 0  # in the word

    @property
    def matched(self) -> bool:
        return self._word == len(self._words)

    @property
    def begun(self) -> bool:
        return self._word > 0 or self._place > 0

    def push(self, char: str) -> bool:
        """Whether the literal can go on like this."""
        if self.matched:
            return False
        word = self._words[self._word]
        if self._place == 0 and char.isspace():
            return True
        if word[self._place] != char:
            return False
        self._place += 1
        if self._place == len(word):
            self._word, self._place = self._word + 1, 0
        return True


class Scan:
    """Several literals at once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._alive = [Literal(text) for text in dict.fromkeys(texts)]
        self.matched: str | None = None

    @property
    def begun(self) -> bool:
        """Whether more than blanks has been read."""
        return any(literal.begun for literal in self._alive)

    @property
    def possible(self) -> list[str]:
        """The literals that may still be meant."""
        return [literal.text for literal in self._alive]

    def push(self, char: str) -> bool:
        """Whether one of the literals can go on like this; `matched` is set when one is complete.

        Once this is false the scan is over.
        """
        self._alive = [literal for literal in self._alive if literal.push(char)]
        self.matched = next((one.text for one in self._alive if one.matched), None)
        return bool(self._alive)
