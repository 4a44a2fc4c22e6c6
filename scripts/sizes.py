"""Which functions and files are longer than the house style allows? Exits 1 when one is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_PARAMETERS = 8
FOLDERS = ("jaxserve", "models", "sharding")


def offences(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    num_lines = source.count("\n")
    if num_lines > MAX_FILE_LINES:
        yield f"{path}: {num_lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{path}:{node.lineno} {node.name}: {length} lines, at most {MAX_FUNCTION_LINES}"
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        count = len([a for a in arguments if a.arg not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            yield f"{path}:{node.lineno} {node.name}: {count} parameters, at most {MAX_PARAMETERS}"


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    # rglob does not follow the links jaxserve/models and jaxserve/sharding
    files = sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.py"))
    found = [line for file in files for line in offences(file)]
    print("\n".join(found) or f"{len(files)} files within the house style's sizes")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
