"""Which formats are known, and which one does a model write?

The first row whose markers are all in the model's chat template is taken, so rows that say more
come first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from jaxserve.errors import ConfigError
from jaxserve.text.calls.description import ReasoningFormat, ToolFormat
from jaxserve.text.formats.deepseek import DEEPSEEK_R1, DEEPSEEK_V3, DEEPSEEK_V31
from jaxserve.text.formats.glm import GLM
from jaxserve.text.formats.granite import GRANITE, GRANITE_SENTENCES, GRANITE_TAGS
from jaxserve.text.formats.harmony import HARMONY, HARMONY_ANALYSIS
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.llama import LLAMA_JSON, PYTHONIC
from jaxserve.text.formats.mistral import MISTRAL, MISTRAL_ARGS, MISTRAL_THINK
from jaxserve.text.formats.phi import FUNCTOOLS, PHI
from jaxserve.text.formats.qwen_coder import QWEN_CODER
from jaxserve.text.formats.think import SEED_THINK, THINK

TOOL_FORMATS = (
    HARMONY,
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    GLM,
    QWEN_CODER,
    MISTRAL_ARGS,
    MISTRAL,
    GRANITE,
    FUNCTOOLS,
    PHI,
    PYTHONIC,
    LLAMA_JSON,
    HERMES,
)

REASONING_FORMATS = (
    HARMONY_ANALYSIS,
    MISTRAL_THINK,
    SEED_THINK,
    GRANITE_SENTENCES,
    GRANITE_TAGS,
    THINK,
    DEEPSEEK_R1,
)

AUTO, OFF = "auto", "off"

Format = TypeVar("Format", ToolFormat, ReasoningFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """What a model writes; None where it has no format that is known."""

    tools: ToolFormat | None = None
    reasoning: ReasoningFormat | None = None

    @property
    def has_channels(self) -> bool:
        return any(one is not None and one.channels for one in (self.tools, self.reasoning))


def check_format_names(*, tools: str, reasoning: str) -> None:
    """Raise ConfigError, which names the known ones, for a name that no row has."""
    choose_formats("", tools=tools, reasoning=reasoning)


def choose_formats(template: str, *, tools: str = AUTO, reasoning: str = AUTO) -> Formats:
    """The formats named, or those that the chat template shows; raises ConfigError."""
    return Formats(
        tools=_choose(TOOL_FORMATS, template, tools, "tool_format"),
        reasoning=_choose(REASONING_FORMATS, template, reasoning, "reasoning_format"),
    )


def _choose(known: Iterable[Format], template: str, name: str, option: str) -> Format | None:
    by_name = {form.name: form for form in known}
    if name == AUTO:
        shown = (form for form in known if all(marker in template for marker in form.markers))
        return next(shown, None)
    if name != OFF and name not in by_name:
        raise ConfigError(
            f"{option} = {name!r} is not known; take {AUTO}, {OFF}, {', '.join(sorted(by_name))}"
        )
    return by_name.get(name)
