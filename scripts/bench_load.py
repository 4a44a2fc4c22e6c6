"""How fast are weights loaded, next to reading their files with dd?

    python scripts/bench_load.py [FOLDER] [--gigabytes N]

Loads a folder of safetensors in the precision that is stored and quantised, and what `jaxserve
convert` makes of either, in turn, from the disk and from the page cache, and prints medians.
Without FOLDER it makes a Llama of random numbers. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jaxserve.config import ModelSource
from jaxserve.convert import convert
from jaxserve.models.checkpoint import stored_dtype
from jaxserve.models.loading import load_model
from jaxserve.models.making import Option
from jaxserve.models.source import open_weights, weight_files
from jaxserve.sharding.mesh import make_mesh

ROUNDS = 3
EMBED, MLP, VOCAB, HEADS, HEAD_DIM = 2048, 8192, 32_000, 16, 128
LAYER = {
    **{f"self_attn.{name}_proj": (EMBED, EMBED) for name in "qkvo"},
    **{f"mlp.{name}_proj": (MLP, EMBED) for name in ("gate", "up")},
    "mlp.down_proj": (EMBED, MLP),
    "input_layernorm": (EMBED,),
    "post_attention_layernorm": (EMBED,),
}
ENDS = {"model.embed_tokens": (VOCAB, EMBED), "model.norm": (EMBED,), "lm_head": (VOCAB, EMBED)}


def write_llama(folder: Path, gigabytes: float) -> None:
    """A Llama of about so many bytes in bfloat16, of random numbers, in files of a few layers."""
    size = 2 * sum(int(np.prod(shape)) for shape in LAYER.values())
    num_layers = max(1, round(gigabytes * 1e9 / size))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": EMBED,
        "intermediate_size": MLP,
        "num_hidden_layers": num_layers,
        "num_attention_heads": HEADS,
        "head_dim": HEAD_DIM,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    draw = np.random.default_rng(0)
    parts = [ENDS] + [
        {f"model.layers.{index}.{name}": shape for name, shape in LAYER.items()}
        for index in range(num_layers)
    ]
    weight_map: dict[str, str] = {}
    for index, shapes in enumerate(parts):
        file = f"model-{index + 1:05}-of-{len(parts):05}.safetensors"
        tensors = {
            f"{name}.weight": draw.normal(size=shape).astype(ml_dtypes.bfloat16)
            for name, shape in shapes.items()
        }
        save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(tensors, file)
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": weight_map}))


def forget(files: list[Path]) -> None:
    """Drop `files` from the page cache."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(num_bytes: int) -> None:
    """Write to so much memory and free it: virtual machines get theirs when they first use it."""
    np.empty(num_bytes, np.uint8)[::4096] = 1


def read_with_dd(folder: Path) -> None:
    for file in weight_files(folder):
        command = ["dd", f"if={file}", "of=/dev/null", "bs=8M", "status=none"]
        subprocess.run(command, check=True)


@dataclass(frozen=True, slots=True)
class Case:
    """A folder, and how it is loaded."""

    name: str
    folder: Path
    dtype: jnp.dtype
    quantize: Option | None = None

    def load(self) -> None:
        mesh = make_mesh(tensor_parallel=1)
        load_model(self.folder, dtype=self.dtype, mesh=mesh, quantize=self.quantize)

    def read(self) -> None:
        read_with_dd(self.folder)


def seconds(work: Callable[[], None], files: list[Path], *, cold: bool) -> float:
    touch(sum(file.stat().st_size for file in files))
    if cold:
        forget(files)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(cases: list[Case]) -> None:
    """Print a row per case and state of the page cache, measured in turn."""
    samples: dict[tuple[str, bool, str], list[float]] = {}
    for case in cases:
        case.load()  # libraries are imported and programs compiled
    for _ in range(ROUNDS):
        for case in cases:
            files = weight_files(case.folder)
            for cold in (True, False):
                for who, work in (("dd", case.read), ("load", case.load)):
                    taken = seconds(work, files, cold=cold)
                    samples.setdefault((case.name, cold, who), []).append(taken)
    print("| weights | read from | dd, s | load, s | load : dd |\n|---|---|---|---|---|")
    for name, cold in dict.fromkeys((name, cold) for name, cold, _ in samples):
        dd, ours = (statistics.median(samples[name, cold, who]) for who in ("dd", "load"))
        where = "disk" if cold else "page cache"
        print(f"| {name} | {where} | {dd:.2f} | {ours:.2f} | {ours / dd:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of safetensors")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the Llama made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made) / "llama"
        if options.folder is None:
            folder.mkdir()
            write_llama(folder, options.gigabytes)
        dtype = jnp.dtype(stored_dtype(open_weights(folder)))
        cases = [Case("safetensors", folder, dtype), Case("quantised", folder, dtype, "int8")]
        for case in list(cases):
            target = Path(made) / f"converted-{case.name}"
            source = ModelSource(model=str(folder), quantize=case.quantize)
            convert(source, target, log=io.StringIO())
            cases.append(Case(f"{case.name}, converted", target, dtype))
        size = sum(file.stat().st_size for file in weight_files(folder))
        print(f"{size / 1e9:.2f} GB in {dtype}, medians of {ROUNDS}; quantised is --quantize int8")
        measure(cases)


if __name__ == "__main__":
    main()
