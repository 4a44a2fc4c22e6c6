"""How is a config.json read so that nothing in it is overlooked?

An attribute is handled (a family asks for it), ignored on purpose (a table says why) or refused by
name. Knows no family. Plain JSON: importing transformers would cost seconds at start.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from jaxserve.errors import CheckpointError, UnsupportedModel

_TRAINING = "only training uses it"
_OUTPUTS = "what transformers hands back, not what it computes"
_TEXT = "belongs to the tokenizer and the generation defaults, which are read elsewhere"
_RECORD = "a record of how the file was made"

IGNORED: Mapping[str, str] = {
    "_name_or_path": _RECORD,
    "architectures": "read before the family is known",
    "attention_dropout": _TRAINING,
    "bos_token_id": _TEXT,
    "dtype": "the precision served in is the user's choice; weights are cast while they are read",
    "eos_token_id": _TEXT,
    "initializer_range": _TRAINING,
    "is_decoder": _OUTPUTS,
    "model_type": "architectures says it more exactly",
    "output_attentions": _OUTPUTS,
    "output_hidden_states": _OUTPUTS,
    "pad_token_id": _TEXT,
    "quantization_config": "read when weights are opened, by a reader of its own",
    "return_dict": _OUTPUTS,
    "torch_dtype": "as dtype",
    "transformers.js_config": "for another runtime",
    "transformers_version": _RECORD,
    "unsloth_fixed": _RECORD,
    "unsloth_version": _RECORD,
    "use_cache": "keys and values are always cached",
}

WAYS_OUT: Mapping[str, str] = {
    "auto_map": "code that comes with a checkpoint is never run",
}


class ConfigReader:
    """Reads attributes of one config.json and remembers which were asked for.

    `defaults` are what a family takes for attributes that are not there; one that is null has the
    default a method is given, as one without a default in the family has. Methods raise
    CheckpointError for a wrong type or a value out of range, naming the attribute, the value and
    what it must be.
    """

    def __init__(
        self, raw: Mapping[str, Any], origin: str, defaults: Mapping[str, Any] | None = None
    ):
        self._raw = raw
        self._origin = origin
        self._defaults = defaults or {}
        self._asked: set[str] = set()

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1. Without `default` it has to be there."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(name, value, "a whole number of at least 1")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above 0. Without `default` it has to be there."""
        value = self._value(name, default)
        if not _is_positive(value):
            raise self.wrong(name, value, "a number above 0")
        return float(value)

    def index(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 0. Without `default` it has to be there."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.wrong(name, value, "a whole number of at least 0")
        return value

    def optional_integer(self, name: str) -> int | None:
        return None if self._value(name, None) is None else self.integer(name)

    def optional_number(self, name: str) -> float | None:
        return None if self._value(name, None) is None else self.number(name)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers above 0."""
        values = self._value(name, None)
        if not isinstance(values, list) or not all(_is_positive(value) for value in values):
            raise self.wrong(name, values, "a list of numbers above 0")
        return tuple(float(value) for value in values)

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number, of any sign."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, value, "a whole number")
        return value

    def integers(self, name: str, *, length: int, default: int | None = None) -> tuple[int, ...]:
        """A whole number of at least 1 for each of `length` layers, or one for all of them."""
        values = self._value(name, default)
        if not isinstance(values, list):
            return (self.integer(name, default),) * length
        good = all(isinstance(value, int) and value >= 1 for value in values)
        if len(values) != length or not good or any(value is True for value in values):
            raise self.wrong(name, values, f"a list of {length} whole numbers of at least 1")
        return tuple(values)

    def indices(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers of at least 0; empty when there is none."""
        values = self._value(name, [])
        good = isinstance(values, list) and all(
            isinstance(value, int) and not isinstance(value, bool) and value >= 0
            for value in values
        )
        if not good:
            raise self.wrong(name, values, "a list of whole numbers of at least 0")
        return tuple(values)

    def switches(self, name: str, *, length: int) -> tuple[bool, ...] | None:
        """A list of `length` zeros and ones, or None when there is none, or an empty one."""
        values = self._value(name, None)
        if values is None or values == []:
            return None
        good = isinstance(values, list) and len(values) == length
        if not good or any(value not in (0, 1) for value in values):
            raise self.wrong(name, values, f"a list of {length}, each 0 or 1")
        return tuple(bool(value) for value in values)

    def choices(self, name: str, handled: Iterable[str], *, length: int) -> tuple[str, ...] | None:
        """A list of `length` of the `handled` strings, or None when there is none."""
        values = self._value(name, None)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) != length:
            raise self.wrong(name, values, f"a list of {length}")
        for value in values:
            if value not in handled:
                raise self.refused(name, value, f"handled are {', '.join(handled)}")
        return tuple(values)

    def one_or_more(self, name: str, handled: Iterable[str]) -> tuple[str, ...]:
        """One of the `handled` strings or a list of several; none where there is none."""
        value = self._value(name, None)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for item in values:
            if item not in handled:
                raise self.refused(name, item, f"handled are {', '.join(handled)}")
        return tuple(values)

    def flag(self, name: str, default: bool) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def choice(self, name: str, default: str | None, handled: Iterable[str]) -> str:
        """One of the `handled` strings; any other is UnsupportedModel."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, value, "a string")
        if value not in handled:
            raise self.refused(name, value, f"handled are {', '.join(handled)}")
        return value

    def table(self, name: str, defaults: Mapping[str, Any] | None = None) -> ConfigReader | None:
        """The object under `name` with a reader of its own, or None when there is none."""
        value = self._value(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return ConfigReader(value, f"{name} in {self._origin}", defaults)

    def names(self) -> tuple[str, ...]:
        """What attributes there are."""
        return tuple(self._raw)

    def require(self, name: str, only: Any) -> None:
        """Accept `name` when it is absent or says `only`; anything else is UnsupportedModel."""
        value = self._value(name, only)
        if value != only:
            raise self.refused(name, value, f"only {only!r} is handled")

    def has(self, name: str) -> bool:
        """Whether there is a value, be it a default of the family."""
        return self._value(name, None) is not None

    def given(self, name: str) -> bool:
        """Whether the file itself says something."""
        return self._raw.get(name) is not None

    def refuse_rest(self, ignored: Mapping[str, str]) -> None:
        """Raise UnsupportedModel for whatever was neither asked for nor in `ignored`."""
        rest = {
            name: value
            for name, value in self._raw.items()
            if value is not None and name not in self._asked and name not in ignored
        }
        if not rest:
            return
        shown = "; ".join(self._describe(name, value) for name, value in rest.items())
        handled = ", ".join(sorted(self._asked))
        raise UnsupportedModel(
            f"{self._origin}: not handled: {shown}. Handled are {handled}. Answers could be wrong "
            "without it; remove it from the file only if it changes nothing"
        )

    def wrong(self, name: str, value: Any, wanted: str) -> CheckpointError:
        return CheckpointError(f"{self._origin}: {name} = {_short(value)}: it must be {wanted}")

    def refused(self, name: str, value: Any, handled: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"{self._origin}: {name} = {_short(value)} is not supported; {handled}"
        )

    def _value(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._raw[name] if name in self._raw else self._defaults.get(name)
        return default if value is None else value

    def _describe(self, name: str, value: Any) -> str:
        text = f"{name} = {_short(value)}"
        if name in WAYS_OUT:
            return f"{text} ({WAYS_OUT[name]})"
        near = difflib.get_close_matches(name, self._asked, n=1, cutoff=0.8)
        return f"{text} (did you mean {near[0]}?)" if near else text


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _short(value: Any) -> str:
    text = "absent" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
