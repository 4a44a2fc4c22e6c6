"""How does a family of models write tool calls? A description that is read in two directions.

`parser` reads calls out of a text by it; `grammar` holds a model to it. A call is a row of parts:
strings are literal (a blank in one stands for any blanks, or none, when read), the others below.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """The function's name, up to a blank or to one of the characters that `stops`."""

    stops: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A word that may stand after `opening` and means nothing to us; never asked of a model."""

    opening: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A JSON object of arguments, passed on as it is written."""


@dataclass(frozen=True, slots=True)
class JSONCall:
    """A JSON object that holds both: `{"name": ..., <arguments>: {...}}`.

    With `needs_arguments` one that has none is no call: it may be any other object with a name.
    """

    arguments: str = "arguments"
    needs_arguments: bool = False


@dataclass(frozen=True, slots=True)
class Tagged:
    """A parameter after the other, each between tags, its value bare; `close` ends them all.

    `key_close` also opens the value. A string is written as it is, other values as JSON. With
    `lines` a value has lines of its own: the newlines around it are not part of it.
    """

    key_open: str
    key_close: str
    value_close: str
    close: str
    lines: bool = False


@dataclass(frozen=True, slots=True)
class PythonArguments:
    """Keyword arguments with Python literals as values, closing parenthesis included."""


Part = str | Name | Skipped | Arguments | JSONCall | Tagged | PythonArguments


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """Calls stand in a run: a begin, calls with something between them, an end.

    Any of `begins` opens a run; the first is what a model is held to. `at_start` also open one,
    where nothing but blanks came before; "" there means that a call needs no opening.
    `strays` are left out when they follow calls. `markers` are texts that a chat template of
    these models has, all of them. With `channels` the whole answer is made of messages, which
    `channels` reads; what is said here is what a model is held to.
    """

    name: str
    markers: tuple[str, ...]
    begins: tuple[str, ...]
    call: tuple[Part, ...]
    end: str = ""
    between: str = ""
    at_start: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    many_per_run: bool = False
    channels: bool = False

    @property
    def next_call(self) -> tuple[str, ...]:
        """What another call of the same run begins with, if there may be one."""
        if not self.many_per_run:
            return ()
        lead = self.between.strip() or self.call[0]
        assert isinstance(lead, str), "calls in a run need something between them"
        return (lead,)

    @property
    def literals(self) -> tuple[str, ...]:
        """Every text that marks something, for those that must know special tokens."""
        parts = [part for part in self.call if isinstance(part, str)]
        skipped = [part.opening for part in self.call if isinstance(part, Skipped)]
        texts = (*self.begins, *self.at_start, *parts, *skipped, self.end, *self.strays)
        return tuple(text for text in texts if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFormat:
    """Reasoning stands before the answer, between `opens` (any of them) and `closes`.

    A template may have opened it in the prompt. With `implicit` it is open from the start unless
    the prompt closed it: the model writes only the end. `dropped` are tags around the answer.
    """

    name: str
    markers: tuple[str, ...]
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    implicit: bool = False
    dropped: tuple[str, ...] = ()
    channels: bool = False

    @property
    def literals(self) -> tuple[str, ...]:
        return (*self.opens, *self.closes, *self.dropped)
