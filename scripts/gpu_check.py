"""Is what this project says of GPUs true on this one? Runs the parts, each in a process of its own.

    scripts/gpu_check [PART ...] [--shape FOLDER] [--dry-run]

Parts: conformance (attention against NumPy), attention (its time by batch and context), engine
(decode by rows and prefill in bfloat16), quantized (the same in int8 and fp8), peer (transformers
on the same shape). --dry-run takes tiny sizes on any platform, to test the script itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxserve.config import Quantize

SHAPE = Path("configs/shapes/llama-8b")
TINY = Path("jaxserve/shipped/tiny-chat")


def conformance(shape: Path, dry_run: bool) -> None:
    """Every backend that is for this platform on every case that it does, against NumPy."""
    from scripts import gpu_conformance

    gpu_conformance.main(names=["decode", "mixed"] if dry_run else None)


def attention(shape: Path, dry_run: bool) -> None:
    from scripts import gpu_attention

    gpu_attention.main(dry_run=dry_run)


def engine(shape: Path, dry_run: bool) -> None:
    _measure(shape, dry_run, quantize=None, rows=(1, 8, 64, 256), prefill=(512, 2048, 8064))


def quantized(shape: Path, dry_run: bool) -> None:
    kinds: tuple[Quantize, ...] = ("int8", "fp8")
    for quantize in kinds:
        _measure(shape, dry_run, quantize=quantize, rows=(1, 64), prefill=(2048,))


def _measure(
    shape: Path,
    dry_run: bool,
    *,
    quantize: Quantize | None,
    rows: tuple[int, ...],
    prefill: tuple[int, ...],
) -> None:
    from jaxserve.bench.engine import EngineLoad, measure
    from jaxserve.config import ModelSource

    if dry_run:
        source = ModelSource(model=str(TINY), quantize=quantize)
        load = EngineLoad(source=source, rows=(2,), prefill=(8,), output_len=4, rounds=1)
    else:
        source = ModelSource(model=str(shape), load_format="dummy", quantize=quantize)
        load = EngineLoad(source=source, rows=rows, prefill=prefill, rounds=2)
    print(measure(load, log=sys.stdout).text())


def peer(shape: Path, dry_run: bool) -> None:
    from scripts import gpu_peer

    gpu_peer.main(TINY if dry_run else shape, dry_run=dry_run)


PARTS: Mapping[str, Callable[[Path, bool], None]] = {
    part.__name__: part for part in (conformance, attention, engine, quantized, peer)
}


def main() -> int:
    """The number of parts that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="folder of a config.json")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on any platform")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    unknown = sorted(set(asked.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = asked.parts or list(PARTS)
    if asked.here:
        for part in parts:
            PARTS[part](asked.shape, asked.dry_run)
        return 0
    dry_run = ["--dry-run"] if asked.dry_run else []
    return sum(_run(part, "--shape", str(asked.shape), *dry_run) for part in parts)


def _run(part: str, *arguments: str) -> bool:
    """Whether a part failed. A process each: it gives back the device's memory when it ends."""
    print(f"## {part}", flush=True)
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, __file__, part, "--here", *arguments], check=False)
    verdict = "FAILED" if done.returncode else "done"
    print(f"\n{part}: {verdict} in {time.monotonic() - started_s:.0f} s\n", flush=True)
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
