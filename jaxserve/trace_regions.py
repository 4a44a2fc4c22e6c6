"""Which part of the model is an operation of a trace? Writes the region's name into the trace.

XLA names the operations of a program as it likes (`fusion.12`), and keeps the names of the scopes
that they were traced in beside the program. A trace's .xplane.pb holds both; its .trace.json.gz,
which Perfetto opens, has the former alone. Knows no model: a region is what `jax.named_scope` said.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Regions = dict[tuple[str, str], str]
"""By the program and the operation, both by XLA's names."""

# Paths of field numbers, of tsl/profiler/protobuf/xplane.proto and xla/service/hlo.proto.
PROGRAMS = (1, 4, 2, 5, 6, 1)  # planes, metadata of events, value, stats, bytes, module
MODULE_NAME, INSTRUCTIONS = (1,), (3, 2)  # of a module; instructions of its computations
INSTRUCTION_NAME, OP_NAME = (1,), (7, 2)  # of an instruction; the name in its metadata
# What control flow and calls add to a path, which is no region.
NOT_REGIONS = re.compile(r"jit\(.*\)|pjit|while|cond|body|branch_\d+_fun|closed_call|transpose.*")


def name_regions(run: Path) -> None:
    """Call every operation in the traces of `run`, a folder that JAX wrote, by its region too."""
    regions: Regions = {}
    for path in run.glob("*.xplane.pb"):
        regions |= _read_regions(path)
    for path in run.glob("*.trace.json.gz"):
        with gzip.open(path, "rt") as file:
            trace = json.load(file)
        for event in trace["traceEvents"]:
            _name(event, regions)
        with gzip.open(path, "wt") as file:
            json.dump(trace, file)


def region_of(op_name: str) -> str:
    """`layer_0/attention` of `jit(step)/layer_0/attention/while/body/dot_general`."""
    *scopes, _ = op_name.split("/")
    return "/".join(scope for scope in scopes if not NOT_REGIONS.fullmatch(scope))


def _name(event: dict[str, Any], regions: Regions) -> None:
    said = event.get("args", {})
    region = regions.get((said.get("hlo_module", ""), said.get("hlo_op", "")))
    if region:
        said["region"] = region
        event["name"] = f"{region} {event['name']}"


def _read_regions(path: Path) -> Regions:
    regions: Regions = {}
    for module in _at(path.read_bytes(), PROGRAMS):
        program = _text(module, MODULE_NAME)
        for instruction in _at(module, INSTRUCTIONS):
            op_name = _text(instruction, OP_NAME)
            if "/" in op_name and (region := region_of(op_name)):
                regions[program, _text(instruction, INSTRUCTION_NAME)] = region
    return regions


def _text(message: bytes, path: Sequence[int]) -> str:
    return next(_at(message, path), b"").decode("utf-8", "replace")


def _at(message: bytes, path: Sequence[int]) -> Iterator[bytes]:
    """Every message or string at a path of fields."""
    if not path:
        yield message
        return
    for number, value in _fields(message):
        if number == path[0] and isinstance(value, bytes):
            yield from _at(value, path[1:])


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The numbered fields of a protobuf message; messages and strings are bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield number, value
        elif kind == 2:
            size, place = _varint(message, place)
            yield number, message[place : place + size]
            place += size
        else:
            place += 8 if kind == 1 else 4


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
