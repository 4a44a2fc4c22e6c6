"""How are a decoder's parameters kept so that a restart reads them as they are?

The weights of a folder that `jaxserve convert` wrote: an Orbax checkpoint of the parameters by
their paths in `Decoder`, whole, so that any mesh can restore them, and a note of its format. The
rest of the folder is as Hugging Face has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orjson
from flax import nnx
from jax.sharding import Mesh

from jaxserve.errors import CheckpointError
from jaxserve.models.checkpoint import read_json, shortened
from jaxserve.models.quantization import Quantization
from jaxserve.sharding.rules import refuse_uneven, sharding
from jaxserve.version import __version__

NOTE_FILE = "jaxserve.json"
WEIGHTS_FOLDER = "weights"
FORMAT = 1  # raised when a folder that was written before cannot be read any more

CHUNK_BYTES = 16 << 20  # what a device reads at least
_GIB = 1 << 30

Layout = Mapping[str, jax.ShapeDtypeStruct]
"""The parameters of a decoder by path, with their shardings."""


def layout(abstract: nnx.State, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Where on `mesh` the parameters of an abstract decoder go, in the order of its leaves.

    Raises ConfigError when the mesh does not divide the model.
    """
    params = {".".join(map(str, path)): param for path, param in nnx.to_flat_state(abstract)}
    dimensions = (zip(p.axes, p.parts, strict=True) for p in params.values())
    refuse_uneven((pair for pairs in dimensions for pair in pairs), mesh)
    return {
        path: jax.ShapeDtypeStruct(
            param.get_value().shape,
            param.get_value().dtype,
            sharding=sharding(param.axes, param.parts, mesh),
        )
        for path, param in params.items()
    }


def is_converted(folder: Path) -> bool:
    return (folder / NOTE_FILE).is_file()


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the parameters."""
    return sorted(file for file in (folder / WEIGHTS_FOLDER).rglob("*") if file.is_file())


def write_params(
    folder: Path,
    params: Mapping[str, jax.Array],
    *,
    source: str,
    quantizations: Mapping[str, Quantization],
) -> None:
    """Write `params` by path into `folder`; the note comes last, so that half is nothing.

    For the note: `source`, the model's name, and `quantizations` of the weights at paths. Raises
    CheckpointError.
    """
    import orbax.checkpoint as ocp

    save = ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES)
    # Weights are noise to a compressor: it saves a fifth of bfloat16 and doubles the time to read.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(
            (folder / WEIGHTS_FOLDER).resolve(),
            args=ocp.args.PyTreeSave(dict(params), save_args=dict.fromkeys(params, save)),
        )
    note = {
        "format": FORMAT,
        "jaxserve": __version__,
        "source": source,
        "quantized": {path: asdict(how) for path, how in quantizations.items()},
    }
    (folder / NOTE_FILE).write_bytes(orjson.dumps(note, option=orjson.OPT_INDENT_2))


def read_quantizations(folder: Path) -> dict[str, Quantization]:
    """How the weights in `folder` are held that are no floats, by path. Raises CheckpointError."""
    _refuse_other_format(folder)
    noted = read_json(folder / NOTE_FILE).get("quantized", {})
    return {path: Quantization(**how) for path, how in noted.items()}


def read_params(folder: Path, wanted: Layout) -> tuple[jax.Array, ...]:
    """The parameters in `folder`, each device reading its slices, cast to what is wanted.

    Raises CheckpointError when the folder is of another format, or its parameters are not those
    of the model that config.json describes.
    """
    import orbax.checkpoint as ocp

    _refuse_other_format(folder)
    at_once = max((math.prod(leaf.shape) * 4 for leaf in wanted.values()), default=0)
    handler = ocp.PyTreeCheckpointHandler(restore_concurrent_gb=1 + -(-at_once // _GIB))
    arguments = {
        path: ocp.ArrayRestoreArgs(
            sharding=leaf.sharding, dtype=leaf.dtype, global_shape=leaf.shape
        )
        for path, leaf in wanted.items()
    }
    weights = (folder / WEIGHTS_FOLDER).resolve()
    with _told_plainly(folder), ocp.Checkpointer(handler) as checkpointer:
        _refuse_misfit(folder, checkpointer.metadata(weights).item_metadata.tree, wanted)
        restored = checkpointer.restore(
            weights, args=ocp.args.PyTreeRestore(restore_args=arguments)
        )
    return tuple(jax.block_until_ready(restored[path]) for path in wanted)


def _refuse_other_format(folder: Path) -> None:
    note = read_json(folder / NOTE_FILE)
    if note.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} was converted by jaxserve {note.get('jaxserve', '?')} into format "
            f"{note.get('format')!r}, and jaxserve {__version__} reads format {FORMAT}; convert "
            f"{note.get('source', 'the model')} again"
        )


def _refuse_misfit(folder: Path, stored: Mapping[str, Any], wanted: Layout) -> None:
    complaints = {
        "missing": [path for path in wanted if path not in stored],
        "unused": [path for path in stored if path not in wanted],
        "of the wrong shape": [
            f"{path} (stored {list(stored[path].shape)}, by the config {list(leaf.shape)})"
            for path, leaf in wanted.items()
            if path in stored and tuple(stored[path].shape) != leaf.shape
        ],
        "of another kind": [
            f"{path} (stored {stored[path].dtype}, by the config {leaf.dtype})"
            for path, leaf in wanted.items()
            if path in stored and not _casts(stored[path].dtype, leaf.dtype)
        ],
    }
    found = [
        f"{len(paths)} {what}: {shortened(paths)}" for what, paths in complaints.items() if paths
    ]
    if found:
        lines = "\n  ".join(found)
        raise CheckpointError(
            f"{folder}: the converted weights do not fit config.json:\n  {lines}\n"
            "Convert the model again, and leave its config.json as it is"
        )


def _casts(stored: Any, wanted: np.dtype) -> bool:
    are_floats = [jnp.issubdtype(dtype, jnp.floating) for dtype in (stored, wanted)]
    return all(are_floats) or stored == wanted


@contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    """Whatever a broken checkpoint makes the library raise is a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the converted weights in {folder / WEIGHTS_FOLDER} cannot be read "
            f"({type(error).__name__}: {error}); convert the model again"
        ) from error
