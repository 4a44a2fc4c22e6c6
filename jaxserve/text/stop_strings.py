"""Where does a text end that must not go past a stop string?

Knows characters only. A matcher withholds the longest tail that may still grow into a stop
string, so what it lets go of is never taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopMatch:
    """`text` is what comes before the stop string (or up to its end, when that was asked for)."""

    text: str
    stop: str


class StopMatcher:
    """Cuts a stream of text at the stop string that completes first; list order breaks ties.

    Matching is character by character, so where the text is split does not matter.
    """

    def __init__(self, stops: Sequence[str], *, include_stop: bool = False):
        self._automata = [_Automaton(stop) for stop in stops]
        self._include_stop = include_stop
        self._held = ""

    def push(self, text: str, *, armed: bool = True) -> str | StopMatch:
        """The text that is safe to show after `text`, or the match that ends it.

        Unarmed, a stop string that completes within `text` does not count; one that begins there
        and completes later does.
        """
        if not self._automata:
            return text
        for index, char in enumerate(text):
            matched = self._first_match(char)
            if matched is not None and armed:
                return self._cut(self._held + text[: index + 1], matched)
        return self._release(self._held + text)

    def flush(self) -> str:
        """What is still withheld, once nothing can follow."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, char: str) -> str | None:
        # Every automaton must see the character, so no early return.
        completed = [automaton.stop for automaton in self._automata if automaton.advance(char)]
        return completed[0] if completed else None

    def _cut(self, text: str, stop: str) -> StopMatch:
        self._held = ""
        return StopMatch(text if self._include_stop else text[: len(text) - len(stop)], stop)

    def _release(self, text: str) -> str:
        num_safe = len(text) - max(automaton.num_matched for automaton in self._automata)
        self._held = text[num_safe:]
        return text[:num_safe]


class _Automaton:
    """Knuth-Morris-Pratt: how much of `stop` the text read so far ends with."""

    def __init__(self, stop: str):
        self.stop = stop
        self.num_matched = 0
        self._borders = _borders(stop)

    def advance(self, char: str) -> bool:
        """Read one character; True when it completes the stop string."""
        matched = self.num_matched
        while matched and self.stop[matched] != char:
            matched = self._borders[matched - 1]
        if self.stop[matched] == char:
            matched += 1
        completed = matched == len(self.stop)
        self.num_matched = self._borders[matched - 1] if completed else matched
        return completed


def _borders(stop: str) -> list[int]:
    """For each prefix of `stop`, the length of its longest proper prefix that is also a suffix."""
    borders = [0] * len(stop)
    for index in range(1, len(stop)):
        length = borders[index - 1]
        while length and stop[index] != stop[length]:
            length = borders[length - 1]
        borders[index] = length + (stop[index] == stop[length])
    return borders
