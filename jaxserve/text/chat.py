"""How does a conversation read as one text for this model?

Renders with the tokenizer's own `apply_chat_template`, so the text is byte for byte what
`transformers` makes, after giving messages the form that the template understands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxserve.errors import InvalidRequest
from jaxserve.text.call_history import AS_MOST, CallForm, probed_call_form
from jaxserve.text.deadline import OutOfTime
from jaxserve.text.messages import (
    Message,
    join_parts,
    merge_leading_system,
    normalize_messages,
    split_parts,
)

MAX_ERROR_CHARS = 500

_PROBE = "jaxserve-probe"
_TOOLS = ({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},)
_DEVELOPER = re.compile(r"""['"]developer\\?['"]""")  # as a role, not as a word of a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What goes into a chat prompt beside the messages.

    `template_kwargs` are variables of the template's own (`enable_thinking`).
    `add_special_tokens` is about encoding the rendered text; templates write their own.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    merge_system_messages: bool = True  # leading ones, where the template refuses several
    template: str | None = None  # in place of the model's own


@dataclass(frozen=True, slots=True)
class _Form:
    """Which form of `content` and of calls a template takes."""

    takes_strings: bool
    takes_parts: bool
    calls: CallForm = AS_MOST

    def shape(self, message: Message) -> Message:
        if not self.takes_parts:
            return self.calls.shape(join_parts(message))
        return self.calls.shape(message if self.takes_strings else split_parts(message))


class ChatTemplate:
    """A tokenizer's chat template, or several named ones, and what they take.

    Where one is named `tool_use`, it renders the chats that have tools, as in `transformers`.
    With `template` that one takes the place of the tokenizer's.
    """

    def __init__(self, tokenizer: Any, template: str | None = None):
        self._tokenizer = tokenizer
        self._template = template
        self._reserved = {"messages", *inspect.signature(tokenizer.apply_chat_template).parameters}
        chosen = template or tokenizer.chat_template
        self._names_developer = bool(_DEVELOPER.search(template_text(chosen)))
        self._form = self._probed(ChatOptions())
        is_named = isinstance(chosen, dict)
        self._form_with_tools = self._probed(ChatOptions(tools=_TOOLS)) if is_named else self._form

    def render(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> str:
        """The conversation as text.

        Leading system messages are merged if the template refuses them and `options` lets it.
        Raises InvalidRequest with the template's own words when it refuses the rest.
        """
        self._refuse_reserved(options.template_kwargs)
        shape = (self._form_with_tools if options.tools else self._form).shape
        normal = [self._with_known_role(message) for message in normalize_messages(messages)]
        try:
            return self._apply([shape(message) for message in normal], options)
        except OutOfTime as error:
            raise _refusal(error) from error
        except Exception as error:  # a template can fail in any way
            merged = merge_leading_system(normal) if options.merge_system_messages else normal
            if len(merged) == len(normal):
                raise _refusal(error) from error
        try:
            return self._apply([shape(message) for message in merged], options)
        except Exception as error:
            raise _refusal(error) from error

    def _with_known_role(self, message: Message) -> Message:
        if message["role"] == "developer" and not self._names_developer:
            return {**message, "role": "system"}
        return message

    def _apply(self, messages: list[Message], options: ChatOptions) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages,
            tools=list(options.tools or ()) or None,
            documents=list(options.documents or ()) or None,
            add_generation_prompt=options.add_generation_prompt
            and not options.continue_final_message,
            continue_final_message=options.continue_final_message,
            tokenize=False,
            chat_template=self._template,
            **options.template_kwargs,
        )
        return text

    def _refuse_reserved(self, template_kwargs: Mapping[str, Any]) -> None:
        for name in template_kwargs:
            if name in self._reserved:
                raise InvalidRequest(
                    f"chat_template_kwargs may not set {name}; it has only the template's own "
                    "variables, such as enable_thinking",
                    param=f"chat_template_kwargs.{name}",
                )

    def _probed(self, options: ChatOptions) -> _Form:
        content = _Form(
            takes_strings=self._shows_probe(_PROBE, options),
            takes_parts=self._shows_probe([{"type": "text", "text": _PROBE}], options),
        )
        calls = probed_call_form(lambda turn: self._apply(turn, options), content.shape)
        return replace(content, calls=calls)

    def _shows_probe(self, content: Any, options: ChatOptions) -> bool:
        """Whether the template prints the text of `content`, and not the list around it."""
        try:
            text = self._apply([{"role": "user", "content": content}], options)
        except Exception:  # refusing this form is an answer too
            return False
        return _PROBE in text and f"'{_PROBE}'" not in text and f'"{_PROBE}"' not in text


def template_text(template: str | Mapping[str, str] | None) -> str:
    """The text of a template, or of all named ones, the default first."""
    if not isinstance(template, Mapping):
        return template or ""
    names = sorted(template, key=lambda name: (name != "default", name))
    return "\n".join(template[name] for name in names)


def _refusal(error: Exception) -> InvalidRequest:
    reason = "it takes too long for so many" if isinstance(error, OutOfTime) else str(error)
    return InvalidRequest(
        f"the model's chat template refuses these messages: {reason[:MAX_ERROR_CHARS]}",
        param="messages",
        code="invalid_template",
    )
