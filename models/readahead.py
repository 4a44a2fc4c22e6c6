"""How does the disk stay busy while weights are cast and placed?

A thread reads the files a little ahead of who needs them, and keeps nothing: what it read is in the
page cache, where mapped files find it. Touching mapped pages alone asks the disk for a little at a
time, and takes four times as long as reading the same files with dd.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

AHEAD_BYTES = 256 << 20
_BLOCK_BYTES = 1 << 20  # larger blocks were no faster, and leave the processor's caches


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file."""

    file: Path
    start: int
    num_bytes: int


class ReadAhead:
    """Reads the spans of each piece of work, in their order, while the work is done.

    A context: the thread ends with it. What cannot be read is left to who needs it to complain of.
    """

    def __init__(self, work: Sequence[Sequence[Span]], *, ahead_bytes: int = AHEAD_BYTES):
        self._work = work
        self._ahead_bytes = ahead_bytes
        self._begun = 0  # pieces of work
        self._moved = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._moved:
            self._is_over = True
            self._moved.notify()
        self._thread.join()

    def begin(self, number: int) -> None:
        """Piece `number` of the work is begun; earlier ones need nothing more."""
        with self._moved:
            self._begun = max(self._begun, number)
            self._moved.notify()

    def _run(self) -> None:
        sizes = [sum(span.num_bytes for span in spans) for spans in self._work]
        seen: set[Span] = set()
        for number, spans in enumerate(self._work):
            for span in spans:
                if span not in seen:
                    seen.add(span)
                    self._read(span, number, sizes)

    def _read(self, span: Span, number: int, sizes: Sequence[int]) -> None:
        block = bytearray(_BLOCK_BYTES)
        try:
            with span.file.open("rb", buffering=0) as file:
                for start in range(0, span.num_bytes, _BLOCK_BYTES):
                    if not self._is_needed(number, start, sizes):
                        return
                    os.preadv(file.fileno(), [block], span.start + start)
        except OSError:
            return

    def _is_needed(self, number: int, start: int, sizes: Sequence[int]) -> bool:
        """Waits while what is read lies too far ahead; False once it is too late to help."""

        def is_near() -> bool:
            return self._is_over or sum(sizes[self._begun : number]) + start < self._ahead_bytes

        with self._moved:
            self._moved.wait_for(is_near)
            return not self._is_over and self._begun <= number
