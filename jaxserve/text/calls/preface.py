"""What comes before an answer that is held to a form: the model's reasoning, free as ever.

Rules of a Lark grammar, as `GrammarWish.preface` has them.
"""

from __future__ import annotations

from jaxserve.text.calls.description import ReasoningFormat
from jaxserve.text.calls.reasoning import opened_by
from jaxserve.text.grammar_source import free_text_lark, literal_lark
from jaxserve.text.tokenizer import Tokenizer

# Models are used to breaking the line after their reasoning.
_BREAK = r"/\n{0,2}/"


def reasoning_preface(form: ReasoningFormat, prompt: str, tokenizer: Tokenizer) -> str:
    """The rules for an answer to `prompt`, of which the end is enough; "" if nothing comes first.

    What the prompt opened must come to its end, what it closed does not come again, and otherwise
    the model may reason or not.
    """
    thought = free_text_lark("thought", form.closes, tokenizer)
    if form.channels:
        lead = literal_lark(form.dropped[0], tokenizer)
        return f"preface: (opening thought)? {lead}\n{_opening(form, tokenizer)}{thought}"
    if opened_by(prompt, form):
        return f"preface: thought {_BREAK}\n{thought}"
    if prompt.rstrip().endswith(form.closes):
        return ""
    return f"preface: (opening thought {_BREAK})?\n{_opening(form, tokenizer)}{thought}"


def _opening(form: ReasoningFormat, tokenizer: Tokenizer) -> str:
    return "opening: " + " | ".join(literal_lark(text, tokenizer) for text in form.opens) + "\n"
