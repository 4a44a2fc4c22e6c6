"""What do people ask? Prompts from a file: a line each, JSON lines, or conversations as ShareGPT's.

Of a conversation the user's turns are kept, and the recorded answers for their lengths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxserve.errors import ConfigError

USERS = ("human", "user")
ANSWERERS = ("gpt", "assistant", "chatgpt", "model")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A turn of a user. `answer` is what was answered, `output_tokens` how long an answer shall
    be, where the file has them."""

    text: str
    answer: str | None = None
    output_tokens: int | None = None


def read_prompts(path: Path) -> list[tuple[Recorded, ...]]:
    """The conversations of a file; raises ConfigError where it has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    try:
        conversations = [_turns(entry) for entry in _entries(path, text)]
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    found = [turns for turns in conversations if turns]
    if not found:
        raise ConfigError(
            f"{path} has no prompts; .txt holds one a line, .jsonl objects with prompt (and "
            "output_tokens), .json a list of those or of conversations"
        )
    return found


def _entries(path: Path, text: str) -> list[Any]:
    if path.suffix == ".json":
        entries = json.loads(text)
        return entries if isinstance(entries, list) else [entries]
    lines = [line for line in text.splitlines() if line.strip()]
    return [json.loads(line) for line in lines] if path.suffix == ".jsonl" else lines


def _turns(entry: Any) -> tuple[Recorded, ...]:
    if isinstance(entry, str):
        return (Recorded(entry),)
    if not isinstance(entry, Mapping):
        return ()
    if isinstance(entry.get("prompt"), str):
        return (Recorded(entry["prompt"], output_tokens=entry.get("output_tokens")),)
    said = entry.get("conversations") or entry.get("messages") or ()
    pairs = [(turn.get("from") or turn.get("role"), _text(turn)) for turn in said]
    turns = []
    for index, (who, text) in enumerate(pairs):
        if who in USERS and text:
            next_who, answer = pairs[index + 1] if index + 1 < len(pairs) else (None, None)
            turns.append(Recorded(text, answer if next_who in ANSWERERS else None))
    return tuple(turns)


def _text(turn: Mapping[str, Any]) -> str | None:
    text = turn.get("value") or turn.get("content")
    return text if isinstance(text, str) else None
