"""How is work on a thread kept from running for minutes? It is struck by an exception.

For templates: the time of one that looks at every message for every message grows with their
square, and a client chooses how many there are.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """Work was struck because it took longer than it may."""


class Deadline:
    """Runs one piece of Python work, which another thread may strike.

    The work raises OutOfTime as soon as it runs Python code again; a long call into C is waited
    for. Work that has ended is never struck.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._thread_id: int | None = None

    def run(self, work: Callable[[], T]) -> T:
        with self._guard:
            self._thread_id = threading.get_ident()
        try:
            return work()
        finally:
            with self._guard:  # a strike that came before is raised in here at the latest
                self._thread_id = None

    def strike(self) -> None:
        with self._guard:
            if self._thread_id is not None:
                exception = ctypes.py_object(OutOfTime)
                thread_id = ctypes.c_ulong(self._thread_id)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread_id, exception)
