"""Which models are served, and by which names? Answers `/v1/models` and resolves `model`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from jaxserve.errors import AdapterNotFound, InvalidRequest, UnknownModel

ALIASES = frozenset({"", "tgi", "dummy", "default"})  # what clients send when they have no name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetails:
    """What a model is beside its name; some API families tell it. Empty where it is not known.

    `device` is cpu, gpu or tpu, `revision` a commit, `template` the chat template's source.
    """

    device: str = "cpu"
    dtype: str = ""
    family: str = ""
    num_params: int = 0
    size_bytes: int = 0
    revision: str | None = None
    template: str = ""


class AdapterUse(Protocol):
    """A loaded adapter: its place on the devices, and what tells it from all others ever loaded."""

    @property
    def place(self) -> int: ...
    @property
    def number(self) -> int: ...


class LoadedAdapters(Protocol):
    """The adapters there are; `load` and `unload` may block, and may be called from any thread."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def find(self, name: str) -> AdapterUse | None: ...
    def load(self, name: str, folder: Path, *, again: bool = False) -> None: ...
    def unload(self, name: str) -> None: ...


class NoAdapters:
    """What a server has that was started without room for adapters."""

    names: tuple[str, ...] = ()

    def find(self, name: str) -> None:
        return None

    def load(self, name: str, folder: Path, *, again: bool = False) -> None:
        raise InvalidRequest("this server has no room for adapters; start it with --max-loras")

    def unload(self, name: str) -> None:
        raise AdapterNotFound(f"no adapter {name!r} is loaded")


NO_ADAPTERS = NoAdapters()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The one model of this server.

    `names` are shown, the first one as the primary; `also` are accepted and not shown (the folder
    name, the hub id). `root` is a hub id or a bare name, never a path. `created` is the time of
    loading in seconds since 1970.
    """

    names: tuple[str, ...]
    root: str
    created: int
    max_model_len: int
    fingerprint: str
    also: tuple[str, ...] = ()
    task: Literal["generate", "embed", "classify"] = "generate"
    details: ModelDetails = ModelDetails()
    adapters: LoadedAdapters = NO_ADAPTERS
    accepts_any: bool = False  # names that nothing here has mean the model all the same

    def adapter(self, name: str) -> AdapterUse | None:
        """The adapter that a name stands for, if it stands for one."""
        return self.adapters.find(name.removesuffix(":latest"))

    def resolve(self, name: str) -> str:
        """The name to answer with: the client's own if it is a real one, else the primary."""
        if name in ALIASES:
            return self.names[0]
        served = (*self.names, *self.adapters.names)
        if name.removesuffix(":latest") in (*served, *self.also):
            return name
        if self.accepts_any:
            return self.names[0]
        raise UnknownModel(
            f"the model {name[:200]!r} is not served here; served: {', '.join(served)}"
        )

    def card(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "jaxserve",
            "root": self.root,
            "parent": None if self.adapter(name) is None else self.names[0],
            "max_model_len": self.max_model_len,
            "permission": [_permission(name, self.created)],
        }

    def cards(self) -> dict[str, Any]:
        """All names, the primary first, since tools take the first; adapters come last."""
        names = (*self.names, *self.adapters.names)
        return {"object": "list", "data": [self.card(name) for name in names]}


def _permission(name: str, created: int) -> dict[str, Any]:
    return {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
