"""Which families are served, in words for people?

The one table that `jaxserve models --supported` prints and README holds, made from the registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxserve.models.encoders.registry import BODY, CLASSIFIES, ENCODERS
from jaxserve.models.families.registry import FAMILIES


@dataclass(frozen=True, slots=True)
class SupportedFamily:
    """A family: what config.json may say under `architectures`, and releases that do."""

    architectures: tuple[str, ...]
    models: str


def supported_families() -> list[SupportedFamily]:
    """Every family once, in the order of the alphabet: those that generate, then encoders."""
    names: dict[int, list[str]] = {}
    for architecture, family in FAMILIES.items():
        names.setdefault(id(family), []).append(architecture)
    rows = [
        SupportedFamily(tuple(architectures), FAMILIES[architectures[0]].models)
        for architectures in names.values()
    ]
    rows.sort(key=lambda row: row.architectures[0].partition("For")[0].lower())
    return [*rows, *_encoders()]


def _encoders() -> list[SupportedFamily]:
    names: dict[int, list[str]] = {}
    for base, family in ENCODERS.items():
        names.setdefault(id(family), []).extend(f"{base}{task}" for task in (BODY, CLASSIFIES))
    return [
        SupportedFamily(tuple(architectures), ENCODERS[architectures[0].removesuffix(BODY)].models)
        for architectures in names.values()
    ]


def as_markdown(rows: Iterable[SupportedFamily]) -> str:
    """The table for README."""
    lines = ["| `architectures` in config.json | models |", "|---|---|"]
    for row in rows:
        lines.append(f"| {', '.join(f'`{name}`' for name in row.architectures)} | {row.models} |")
    return "\n".join(lines)


def as_text(rows: Iterable[SupportedFamily]) -> str:
    """The table for a terminal, an architecture a line."""
    cells = [
        (architecture, "" if index else row.models)
        for row in rows
        for index, architecture in enumerate(row.architectures)
    ]
    width = max(len(left) for left, _ in cells)
    return "\n".join(f"{left:<{width}}  {right}".rstrip() for left, right in cells)
