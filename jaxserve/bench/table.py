"""How are rows of figures shown? As a table of Markdown that reads well in a terminal, too."""

from __future__ import annotations

from collections.abc import Sequence

Cell = str | int | float | None


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Numbers stand at the right, with four digits that count; None is a dash."""
    shown = [[_show(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
    rights = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, rights, strict=True)
        ]
        return f"| {' | '.join(aligned)} |"

    marks = [
        f"{'-' * (width + 1)}:" if right else "-" * (width + 2)
        for width, right in zip(widths, rights, strict=True)
    ]
    return "\n".join([line(header), f"|{'|'.join(marks)}|", *map(line, shown)])


def _show(cell: Cell) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if abs(cell) >= 1000:
        return f"{cell:.0f}"
    return f"{cell:.4g}"
