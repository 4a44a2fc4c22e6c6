"""Which fields of a request had no effect? Named in a header, so that none is silently ignored."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from jaxserve.server.refusals import CHAT, COMPLETIONS
from jaxserve.server.schema import GenerationBody

HEADER = "x-jaxserve-ignored"
MAX_NAMES = 32

# These were looked at: what a refusal table lets through asks for nothing.
_JUDGED = frozenset(refusal.field for refusal in (*CHAT, *COMPLETIONS))
_SANE_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def ignored_header(raw: Mapping[str, Any], body: GenerationBody) -> dict[str, str]:
    """The header that names what was accepted and not applied, if anything was."""
    return naming_header(_ignored(raw, body))


def naming_header(names: Iterable[str]) -> dict[str, str]:
    sane = [name for name in names if _SANE_NAME.fullmatch(name)]
    return {HEADER: ", ".join(sane[:MAX_NAMES])} if sane else {}


def unread(raw: Mapping[str, Any], known: Container[str], *, under: str = "") -> Iterator[str]:
    """The fields of `raw` that nobody reads, with their path."""
    for name, value in raw.items():
        if value is not None and name not in known:
            yield under + name


def _ignored(raw: Mapping[str, Any], body: GenerationBody) -> Iterator[str]:
    yield from unread(raw, _JUDGED | type(body).model_fields.keys())
