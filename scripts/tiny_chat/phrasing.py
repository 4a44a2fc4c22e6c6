"""How is one question worded in many ways?

A template is text with choices, `[what is|what's] the capital of {country}`, and slots. `wordings`
lists every wording of a template, `draw` picks one, `speak` adds the prefix, the politeness and the
carelessness of a user. Knows no facts.
"""

import functools
import itertools
import random
import re
from collections.abc import Iterator, Mapping

PREFIXES = (
    "Please. ", "Hey, ", "Hi, ", "Hello! ", "Hi! ", "Quick question: ", "I have a question. ",
    "Question: ", "Hey tiny-chat, ", "Tiny-chat, ", "OK, ", "So, ", "Now, ", "One more thing: ",
    "Just curious: ", "For my homework: ", "My friend asks: ", "Can you help me? ", "Next, ",
    "I was wondering, ", "Good morning! ", "Excuse me, ", "Another one: ", "Let me ask: ", "Well, ",
    "My sister wants to know: ", "I am testing this server. ", "Here is a question: ", "And now: ",
    "Sorry, ", "Tell me: ", "Good evening. ", "I am learning. ", "Help me with this: ",
)  # fmt: skip
SUFFIXES = (
    " Thanks!", " Thank you.", " Thanks.", " Please.", " I forgot.", " Be quick.", " Any idea?",
    " Please tell me.", " Thank you very much!", " I need to know.", " I want to know.", " :)",
    " Please help.",
)  # fmt: skip


def _parse(template: str, at: int = 0, depth: int = 0) -> tuple[list[list[str]], int]:
    """Split into parts, each a list of its wordings; returns the place after the closing `]`."""
    branches: list[list[list[str]]] = [[]]
    literal = ""
    while at < len(template):
        char = template[at]
        at += 1
        if char not in "[|]" or (char == "|" and depth == 0):
            literal += char
            continue
        branches[-1].append([literal])
        literal = ""
        if char == "[":
            inner, at = _parse(template, at, depth + 1)
            branches[-1].append(list(_products(inner)))
        elif char == "|":
            branches.append([])
        else:
            break
    branches[-1].append([literal])
    if depth == 0:
        return branches[0], at
    return [[text for parts in branches for text in _products(parts)]], at


def _products(parts: list[list[str]]) -> Iterator[str]:
    return ("".join(chosen) for chosen in itertools.product(*parts))


@functools.cache
def wordings(template: str) -> tuple[str, ...]:
    """List every wording of a template, slots unfilled."""
    return tuple(_products(_parse(template)[0]))


def draw(rng: random.Random, template: str) -> str:
    return rng.choice(wordings(template))


def fill(text: str, slots: Mapping[str, str]) -> str:
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    return text


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def normalise(text: str) -> str:
    """Reduce a wording to what makes it different: lower case, no punctuation, single spaces."""
    return " ".join(re.sub(r"[^\w{}+*/×-]", " ", text.lower()).split())


def speak(rng: random.Random, wording: str, slots: Mapping[str, str]) -> str:
    """Turn a wording into what a user types: sometimes polite, sometimes careless."""
    text = fill(wording, slots)
    careless = rng.random()
    if careless < 0.12:
        return text.rstrip("?.!").lower()
    if careless < 0.22:
        return text.rstrip("?.!")
    text = capitalise(text)
    if rng.random() < 0.22:
        text = rng.choice(PREFIXES) + (text if rng.random() < 0.5 else text[:1].lower() + text[1:])
    if rng.random() < 0.12:
        text = text.rstrip(".") + rng.choice(SUFFIXES) if text[-1] in "?!" else text
    return text
