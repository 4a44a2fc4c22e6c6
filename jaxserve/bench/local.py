"""How does a program get a server of its own to measure? Starts `jaxserve serve` beside itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

from jaxserve.errors import EngineFailed

STOP_S = 30.0
READY = re.compile(r" is ready: .* at (http://\S+)/v1 ")


class LocalServer:
    """`jaxserve serve` with these arguments on a free port of loopback, ready at `url`.

    Stop it, or use it in a `with` statement. Raises EngineFailed with what it said when it ends
    before it is ready.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "jaxserve.cli", "serve", "--port", "0", *arguments]
        with tempfile.TemporaryFile("w+") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            assert self._process.stdout is not None, "its output is a pipe"
            said = self._process.stdout.readline()
            ready = READY.search(said)
            if ready is None:
                self.stop()
                log.seek(0)
                raise EngineFailed(f"{' '.join(command)} did not start:\n{log.read()}{said}")
        self.url = ready[1]

    def stop(self) -> None:
        """End it, by force if it does not end; may be called again."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
