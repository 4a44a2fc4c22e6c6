"""What did the user ask `jaxserve bench serve` for? Parses and calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jaxserve.bench.serve import ServeLoad, measure
from jaxserve.bench.serve_table import describe
from jaxserve.errors import EngineFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchServe:
    """Put a load on a server that speaks the OpenAI API, and say how well it answered.

    Exits with 1 when every request failed. A key is read from OPENAI_API_KEY.
    """

    load: ServeLoad = field(default_factory=ServeLoad)
    output: Path | None = None
    """File for the results as JSON, with the keys of `vllm bench serve --save-result`."""
    save_detailed: bool = False
    """Write the times and lengths of each request, too."""
    disable_tqdm: bool = False
    """Show no progress bar."""

    def run(self) -> None:
        report = measure(self.load, progress=not self.disable_tqdm)
        print(describe(report))
        if self.output is not None:
            report.save(self.output, detailed=self.save_detailed)
        if not report.figures["completed"]:
            raise EngineFailed("every request failed; the table above says of what")
