"""In which ways can an answer be wished for: one word, JSON, French?"""

import dataclasses
import json

from . import facts, talk
from .more_tasks import UNKNOWN, WHO
from .tasks import Fact


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A way of answering that the system message or the user can ask for."""

    name: str
    trained: tuple[str, ...]
    held: tuple[str, ...]

    def answer(self, fact: Fact) -> str | None:
        """Write the fact in this style, or `None` where it has no such form."""
        if self.name == "one word":
            return fact.short or None
        if self.name == "JSON":
            return json.dumps(fact.json, ensure_ascii=False) if fact.json else None
        return french(fact)


STYLES = (
    Style(
        name="one word",
        trained=(
            "[|please |only |always ][answer|reply|respond] [in|with|using] [one word|"
            "a single word|just one word|only one word|one word only].",
            "in one word, please.", "one word only.", "[give|write] [a one word answer|one word].",
            "[be brief: |be short: ]one word.", "one word answer[|s only|, please].",
            "you only answer with one word.", "just one word.", "use one word.",
        ),
        held=("please give me an answer of one word.", "say it in a single word, please.",
              "your answer must be one word."),
    ),
    Style(
        name="JSON",
        trained=(
            "[|please |only |always ][answer|reply|respond|write] [in|with|as|using] [JSON|"
            "JSON only|a JSON object|json|JSON format|valid JSON].",
            "[return|give me|output|produce|send|write] [|the answer as |only |a ]JSON[| object|].",
            "as JSON, please.", "in JSON.", "JSON only.", "as a JSON object.", "use JSON.",
            "you only [write|speak|output] JSON.",
        ),
        held=("I want the answer in JSON.", "format the answer as JSON.",
              "the output must be a JSON object."),
    ),
    Style(
        name="French",
        trained=(
            "[|please |only |always ][answer|reply|respond|speak|write] [|to me |only ]in French.",
            "in French, please.", "[speak|use|write] French[|, please| only].", "en français.",
            "you [only |]speak French.", "[give|write] the answer in French.",
        ),
        held=("I want the answer in French.", "all answers must be in French."),
    ),
)  # fmt: skip
FRENCH = {
    WHO: "Je suis tiny-chat, un petit modèle de démonstration livré avec jaxserve.",
    UNKNOWN: "Je ne sais pas. Je suis un très petit modèle.",
    talk.HELLO: "Bonjour ! Je suis tiny-chat. Comment puis-je vous aider ?",
    "You are welcome!": "De rien !",
    "Goodbye! Have a nice day.": "Au revoir ! Bonne journée.",
    talk.FINE: "Je vais bien, merci. Comment puis-je vous aider ?",
}


def french(fact: Fact) -> str | None:
    if fact.answer.startswith("The capital of ") and fact.slots.get("country"):
        return facts.FRENCH_CAPITALS.get(fact.slots["country"])
    return FRENCH.get(fact.answer)
