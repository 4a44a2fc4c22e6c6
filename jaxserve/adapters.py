"""Which adapters are there, by name? Loads and unloads them while the server serves.

An adapter has a place on the devices. A place whose adapter was unloaded is given to another one
only when no request uses it any more. May be called from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxserve.errors import AdapterNotFound, ConfigError, EngineBusy, InvalidRequest
from jaxserve.models.adapters import Room, Stored, Weights
from jaxserve.models.peft import read_adapter


@dataclass(frozen=True, slots=True)
class Adapter:
    """A loaded adapter; `number` tells it from one that had its name or place before."""

    name: str
    folder: Path
    place: int
    number: int


class Adapters:
    """The adapters of one model."""

    def __init__(
        self,
        modules: Stored,
        room: Room,
        *,
        place: Callable[[Mapping[int, Weights]], None],
        is_used: Callable[[int], bool],
    ) -> None:
        """`place` puts weights onto the devices; `is_used` tells whether a request that has not
        ended uses an adapter, counted from 1."""
        self._modules = modules
        self._room = room
        self._place = place
        self._is_used = is_used
        self._lock = threading.Lock()
        self._loaded: dict[str, Adapter] = {}
        self._weights: dict[int, Weights] = {}
        self._num_loaded = 0

    @property
    def names(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._loaded)

    def find(self, name: str) -> Adapter | None:
        with self._lock:
            return self._loaded.get(name)

    def load(self, name: str, folder: Path, *, again: bool = False) -> None:
        """Load an adapter; with `again` one of that name is replaced.

        Raises InvalidRequest for a name in use, AdapterNotFound for a folder that is not there,
        CheckpointError for an adapter that does not fit, EngineBusy when every place is in use.
        """
        if not folder.is_dir():
            raise AdapterNotFound(f"there is no folder for the adapter {name!r}")
        weights = read_adapter(folder, self._modules, max_rank=self._room.max_rank)
        with self._lock:
            if name in self._loaded and not again:
                raise InvalidRequest(f"the adapter {name!r} is loaded already", param="lora_name")
            place = self._free_place(name)
            self._weights[place] = weights
            self._place(self._weights)
            self._num_loaded += 1
            self._loaded[name] = Adapter(name, folder, place, self._num_loaded)

    def unload(self, name: str) -> None:
        """Take an adapter's name away; requests that use it end undisturbed."""
        with self._lock:
            if self._loaded.pop(name, None) is None:
                raise AdapterNotFound(f"no adapter {name!r} is loaded")

    def _free_place(self, name: str) -> int:
        """A place for the adapter called so; its own counts as free."""
        taken = {adapter.place for adapter in self._loaded.values() if adapter.name != name}
        free = [i for i in range(self._room.num_adapters) if i not in taken]
        if not free:
            raise ConfigError(
                f"all {self._room.num_adapters} places for adapters are taken; unload one, or "
                "start the server with a larger --max-loras"
            )
        unused = [place for place in free if not self._is_used(place + 1)]
        if not unused:
            raise EngineBusy("requests still use the adapters that were there; try again later")
        return unused[0]
