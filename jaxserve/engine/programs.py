"""Was a program compiled by an earlier start, or must it be now?

A program that is found is neither traced nor compiled. It is found by its facts: everything that
it depends on, each with a name, so that a miss can say which of them changed. Whatever goes wrong
with the folder costs a compilation and nothing else. Knows no model and no step.

Loading a program runs what its file holds, as with any cache of compiled code: a file that
belongs to another user is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jax.experimental.serialize_executable import deserialize_and_load, serialize

logger = logging.getLogger(__name__)

SUFFIX = ".program"
KEPT_PER_NAME = 8  # those used last; others are of settings or versions that nobody starts any more
_LONGEST_FACT = 60  # a longer one is kept as its digest

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a program came from, and why from there."""

    name: str
    found: bool
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {'found' if self.found else 'compiled'}, {self.why}"


class Programs:
    """Programs of one start. `get` may be called from several threads.

    `facts` are those that all its programs depend on; without a folder nothing is kept or found.
    `explain` says whether whoever asked for the start is to be told the origins.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        devices: Sequence[jax.Device] = (),
        facts: Facts | None = None,
        explain: bool = False,
    ) -> None:
        self._folder = folder
        self._devices = tuple(devices)
        self._facts = dict(facts or {})
        self.explain = explain
        self.origins: list[Origin] = []

    def get(self, name: str, facts: Facts, lower: Callable[[], jax.stages.Lowered]) -> Any:
        """The compiled program of these facts: what `lower().compile()` gives."""
        if self._folder is None:
            self.origins.append(Origin(name, False, "there is no folder for programs"))
            return lower().compile()
        facts = {key: _short(value) for key, value in {**self._facts, **facts}.items()}
        path = self._folder / f"{_slug(name)}-{_digest(json.dumps(facts, sort_keys=True))}{SUFFIX}"
        why = "not kept yet"
        if path.exists():
            try:
                program = self._read(path)
            except Exception as error:  # whatever a damaged file makes the libraries raise
                why = f"{path.name} cannot be used: {type(error).__name__}: {error}"
                logger.warning("%s: %s", name, why)
            else:
                self.origins.append(Origin(name, True, path.name))
                return program
        else:
            why = _changes(facts, self._folder.glob(f"{_slug(name)}-*{SUFFIX}"))
        with _JAX_CACHE_OFF:
            program = lower().compile()
        self._keep(path, facts, program)
        self.origins.append(Origin(name, False, why))
        return program

    def _read(self, path: Path) -> Any:
        if path.stat().st_uid not in (os.getuid(), 0):
            raise PermissionError("it belongs to another user")
        with path.open("rb") as file:
            file.readline()
            serialized, in_tree, out_tree = pickle.load(file)
        os.utime(path)  # it was used last now
        return deserialize_and_load(
            serialized,
            in_tree,
            out_tree,
            backend=self._devices[0].client,
            execution_devices=self._devices,
        )

    def _keep(self, path: Path, facts: Facts, program: jax.stages.Compiled) -> None:
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = pickle.dumps(serialize(program))
            unfinished.write_bytes(json.dumps(facts).encode() + b"\n" + content)
            unfinished.replace(path)
            _drop_oldest(path)
        except Exception as error:  # not every backend can; a disk may be full or read-only
            logger.warning("cannot keep %s: %s: %s", path, type(error).__name__, error)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)


class _JaxCacheOff:
    """Compiles without JAX's own cache of compiled programs while any thread is inside.

    What comes out of that cache on a CPU cannot be serialized again: a program read back from it
    lacks its functions and fails when it is called. The switch is the process's, as the cache is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._folder: str | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
                self._switch(None)
            self._num_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._switch(self._folder)

    def _switch(self, folder: str | None) -> None:
        if self._folder is not None:
            jax.config.update("jax_compilation_cache_dir", folder)
            reset_cache()  # whether there is one was asked once, at the first compilation


_JAX_CACHE_OFF = _JaxCacheOff()


def _short(fact: str) -> str:
    return fact if len(fact) <= _LONGEST_FACT else f"digest {_digest(fact)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def _changes(facts: Facts, kept: Any) -> str:
    """What differs between `facts` and those of the kept program that is nearest to them."""
    others = [known for path in kept if (known := _facts_of(path)) is not None]
    if not others:
        return "no program of this name is kept"
    differing = [
        [key for key in {**facts, **known} if facts.get(key) != known.get(key)] for known in others
    ]
    fewest = min(range(len(others)), key=lambda index: len(differing[index]))
    told = [f"{k} was {others[fewest].get(k)}, is {facts.get(k)}" for k in differing[fewest]]
    return "changed: " + "; ".join(told)


def _facts_of(path: Path) -> dict[str, str] | None:
    try:
        with path.open("rb") as file:
            facts = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _drop_oldest(path: Path) -> None:
    """Keep the programs of the name of `path` that were used last."""
    name = path.stem.rpartition("-")[0]
    named = re.compile(rf"{re.escape(name)}-[0-9a-f]{{16}}{re.escape(SUFFIX)}")
    kept = [each for each in path.parent.iterdir() if named.fullmatch(each.name)]
    for old in sorted(kept, key=lambda each: -each.stat().st_mtime)[KEPT_PER_NAME:]:
        old.unlink(missing_ok=True)
