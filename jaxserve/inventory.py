"""Which models are on this machine, what would each need, and which can be served at all?

Reads configs and the headers of weight files, never numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp

from jaxserve.errors import CheckpointError, JaxserveError
from jaxserve.models.families.listing import as_text, supported_families
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.footprint import Footprint, footprint, pooled_footprint
from jaxserve.models.hub import LocalModel, local_models, model_path
from jaxserve.models.loading import held_as
from jaxserve.models.pooled_loading import is_pooled, read_pooled_config
from jaxserve.models.source import config_origin, open_weights, read_raw_config

DTYPE = jnp.dtype("bfloat16")
HEADINGS = ("MODEL", "REVISION", "ARCHITECTURE", "ON DISK", "WEIGHTS", "KV PER TOKEN", "STATE")
NOTE = (
    "WEIGHTS and KV PER TOKEN are in bfloat16, the default on TPU and GPU; float32, the default on "
    "a CPU, takes twice as much. Weights that stay quantised are counted as they are. STATE is "
    "what a running request takes whatever its length."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a folder holds: its needs, or the reason why it cannot be served."""

    architecture: str
    needs: Footprint | None
    refusal: str = ""


def print_supported() -> None:
    print(as_text(supported_families()))


def print_local() -> None:
    """Print a table of the local hub cache and the shipped model."""
    print(listing([(model, judge(model.folder)) for model in local_models()]))


def judge(folder: Path) -> Verdict:
    """Whether the model in `folder` can be served, by its config and its files' headers."""
    architecture = "?"
    try:
        folder = model_path(folder)
        raw = read_raw_config(folder)
        names = raw.get("architectures")
        architecture = str(names[0]) if isinstance(names, list) and names else "?"
        if is_pooled(folder):
            open_weights(folder)
            return Verdict(architecture, pooled_footprint(read_pooled_config(folder), DTYPE))
        family, config = read_model_config(raw, config_origin(folder))
        held = held_as(folder, raw, family, config)
    except CheckpointError as error:
        return Verdict(architecture, None, str(error).replace(f"{folder}/", ""))
    try:
        return Verdict(architecture, footprint(config, DTYPE, held))
    except JaxserveError as error:
        return Verdict(architecture, None, str(error))


def listing(models: Iterable[tuple[LocalModel, Verdict]]) -> str:
    """A row for each model, a refusal below the row that it is about."""
    rows = [
        (HEADINGS, ""),
        *((_cells(model, verdict), verdict.refusal) for model, verdict in models),
    ]
    widths = [max(len(cells[column]) for cells, _ in rows) for column in range(len(HEADINGS))]
    lines = []
    for cells, refusal in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
        if refusal:
            lines.append(f"    not supported: {refusal}")
    return "\n".join([*lines, NOTE])


def _cells(model: LocalModel, verdict: Verdict) -> tuple[str, ...]:
    needs = verdict.needs
    return (
        model.name,
        model.revision,
        verdict.architecture,
        in_units(model.disk_bytes),
        in_units(needs.weights_bytes) if needs else "-",
        in_units(needs.kv_bytes_per_token) if needs else "-",
        in_units(needs.state_bytes_per_slot) if needs and needs.state_bytes_per_slot else "-",
    )


def in_units(num_bytes: int) -> str:
    """Three digits and a decimal unit: 269 MB, 1.54 GB."""
    value, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
