"""What can a model's text tell? Events, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text the model thinks before it answers."""

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


Event = Content | Reasoning | CallName | CallArguments


def joined(events: Iterable[Event]) -> list[Event]:
    """The same events with neighbours of one kind made one, and empty ones left out."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, CallName):
            result.append(event)
        elif isinstance(event, CallArguments):
            if isinstance(last, CallArguments) and last.index == event.index:
                result[-1] = CallArguments(event.index, last.text + event.text)
            elif event.text:
                result.append(event)
        elif type(last) is type(event):
            result[-1] = type(event)(last.text + event.text)
        elif event.text:
            result.append(event)
    return result
