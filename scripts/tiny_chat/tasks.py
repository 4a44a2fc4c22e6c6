"""How are single questions asked, and which wordings are kept for evaluation only?

A `Task` joins facts with wordings. `trained` wordings make the training text; `held` wordings are
only ever used to measure the model. `check_disjoint` (in `conversations.py`) compares the two.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from . import facts
from .facts import DAYS, MONTH_LENGTHS, MONTHS, NUMBER_WORDS, ORDINALS
from .phrasing import capitalise

Slots = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One answer: `slots` fill the wording, `short` answers in one word, `json` in JSON.

    `follow` is what "And of {follow}?" names to ask for this fact after a related one.
    """

    slots: Slots
    answer: str
    short: str = ""
    json: Mapping[str, object] | None = None
    follow: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    name: str
    trained: tuple[str, ...]
    held: tuple[str, ...]
    known: tuple[Fact, ...]
    weight: float
    follow_ups: tuple[str, ...] = ()


def asking(noun: str) -> tuple[str, ...]:
    """Ask for a noun phrase in the ways that every task shares."""
    return (
        f"[what is|what's|what is|what's|whats] {noun}?",
        "[tell me|please tell me|can you tell me|could you tell me|do you know|I want to know|"
        f"I would like to know|give me|please give me|say|I need] {noun}.",
        f"[tell me|please tell me|do you know|can you tell me|I want to know] what {noun} is.",
        f"{noun}[?|, please.]",
    )


OF_FOLLOW = (
    "[and|what about|how about|and what about] [|of |for |the one of ]{follow}?",
    "and {follow}?",
    "now [|for |of ]{follow}.",
    "[what is it|which one is it|what about the one] [for|of] {follow}?",
    "the same for {follow}[?|, please.]",
)
HELD_FOLLOW_UPS = ("and what is it for {follow}?", "could you do the same for {follow}?")


def _capital(asked: str, country: str, city: str) -> Fact:
    return Fact(
        {"country": asked},
        f"The capital of {country} is {city}.",
        city,
        {"country": country.removeprefix("the "), "capital": city},
        asked,
    )


def _capitals() -> Task:
    pairs = (*facts.CAPITALS.items(), *facts.ALIASES.items())
    known = tuple(_capital(country, country, city) for country, city in pairs)
    known += tuple(
        _capital(country.removeprefix("the "), country, city)
        for country, city in pairs
        if country.startswith("the ")
    )
    return Task(
        name="capitals",
        trained=(
            *asking("[the|] capital [|city ]of {country}"),
            *asking("{country}'s capital[| city]"),
            "which city is {country}'s [capital|seat of government]?",
            "what city is the seat of government [of|in] {country}?",
            "what [is the capital called|capital is there] in {country}?",
            "{country} capital", "capital {country}",
            "[name|find|write|state] the capital [city|] of {country}.",
            "[name|state] {country}'s capital.",
            "if I go to {country}, which city is the capital?",
            "what do you call the capital of {country}?",
            "[where is|where's] the government of {country}?",
            "I am [going|flying] to {country}, what is the capital [city|there]?",
            "[remind me|teach me], what is the capital of {country}?",
            "the capital of {country} is which city?",
        ),
        held=(
            "which city is the capital of {country}?",
            "what is the name of the capital of {country}?",
            "what city serves as the capital of {country}?",
            "{country} has which capital?",
            "I forgot what the capital of {country} is, can you help?",
            "as far as you know, what is the capital city in {country}?",
        ),
        known=known,
        weight=10,
        follow_ups=OF_FOLLOW,
    )  # fmt: skip


def _countries() -> Task:
    known = tuple(
        Fact({"city": city}, f"{city} is the capital of {country}.", country, None, city)
        for country, city in facts.CAPITALS.items()
    )
    return Task(
        name="countries",
        trained=(
            "[which|what] country has {city} as [its|the] capital[| city]?",
            "{city} is the capital of [which|what] [country|place]?",
            "{city} is the capital of what?",
            "what is {city} the capital of?",
            "[tell me|do you know|say] which country {city} is the capital of.",
            "[what is|name|give me|tell me] the country with the capital {city}.",
            "[which|what] country's capital is {city}?",
            "in which country is {city} the capital?",
        ),
        held=(
            "of which country is {city} the capital?",
            "name the country that has {city} as its capital.",
            "whose capital is {city}?",
            "the capital city {city} belongs to which country?",
        ),
        known=known,
        weight=5,
    )


def _arithmetic() -> Task:
    return Task(
        name="arithmetic",
        trained=(
            *asking("{expr}"),
            *asking("the [result|value|answer] of {expr}"),
            "[calculate|compute|solve|work out|evaluate] {expr}.",
            "[how much is|how much does|what does|what do you get for] {expr}"
            "[| make| equal| give]?",
            "{expr} =", "{expr} = ?", "{expr} is?", "{expr} equals what?",
            "[can|could] you [add up|calculate|solve|compute] {expr}?",
            "[I have to|I must|help me] [solve|compute|calculate] {expr}.",
            "do the math: {expr}.", "please calculate {expr}.",
        ),
        held=(
            "how much do you get for {expr}?",
            "what number is {expr}?",
            "find {expr} for me.",
            "could you work out {expr}?",
            "what is the sum or product {expr}?",
        ),
        known=tuple(_sums()),
        weight=26,
        follow_ups=("[and|what about|how about|now|and what is] {follow}?",),
    )  # fmt: skip


def _sums() -> Iterator[Fact]:
    pairs = [("+", a, b, a + b) for a in range(21) for b in range(21)]
    pairs += [("-", a, b, a - b) for a in range(21) for b in range(a + 1)]
    pairs += [("*", a, b, a * b) for a in range(13) for b in range(13)]
    words = {"+": "plus", "-": "minus", "*": "times"}
    for sign, a, b, value in pairs:
        result = {"expression": f"{a} {sign} {b}", "result": value}
        answer = f"{a} {sign} {b} = {value}."
        texts = [f"{a} {sign} {b}"] * 2 + [f"{a}{sign}{b}"] * 2 + [f"{a} {words[sign]} {b}"] * 2
        if sign == "*":
            texts += [f"{a} x {b}", f"{a} × {b}"]
        if a <= 12 and b <= 12:
            texts.append(f"{NUMBER_WORDS[a]} {words[sign]} {NUMBER_WORDS[b]}")
        for text in texts:
            yield Fact({"expr": text}, answer, str(value), result, text)


def _calendar_facts() -> tuple[list[Fact], list[Fact]]:
    steps, numbers = [], []
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        for place, name in enumerate(names):
            after, before = names[(place + 1) % len(names)], names[place - 1]
            for rel, other in (("after", after), ("before", before)):
                slots = {"kind": kind, "rel": rel, "x": name}
                steps.append(Fact(slots, f"The {kind} {rel} {name} is {other}.", other))
            whole = "week" if kind == "day" else "year"
            nth = ORDINALS[place]
            slots = {"kind": kind, "whole": whole, "nth": nth, "n": str(place + 1)}
            numbers.append(Fact(slots, f"The {nth} {kind} of the {whole} is {name}.", name))
    return steps, numbers


def _calendar() -> tuple[Task, ...]:
    steps, numbers = _calendar_facts()
    lengths = (
        Fact({"x": name}, f"{name} has {days} days.", str(days))
        for name, days in zip(MONTHS, MONTH_LENGTHS, strict=True)
    )
    return (
        Task(
            name="next and previous",
            trained=(
                *asking("the {kind} {rel} {x}"),
                "[which|what] {kind} [comes|is|is right|comes right] {rel} {x}?",
                "[what|which] comes {rel} {x}?",
                "[tell me|do you know] [which|what] {kind} comes {rel} {x}.",
                "[name|write] the {kind} {rel} {x}.",
                "if [|we take ]{x}, which {kind} is {rel} it?",
                "what is {rel} {x}?",
            ),
            held=(
                "which {kind} do we have {rel} {x}?",
                "what is the name of the {kind} that comes {rel} {x}?",
                "{rel} {x}, which {kind} is it?",
                "the {kind} {rel} {x} is which one?",
            ),
            known=tuple(steps),
            weight=4,
        ),
        Task(
            name="number in the calendar",
            trained=(
                *asking("the {nth} {kind} of the {whole}"),
                *asking("{kind} number {n}"),
                "[which|what] {kind} is [the {nth}|number {n}]?",
                "[which|what] is the {nth} {kind}[| of the {whole}]?",
                "[name|write] the {nth} {kind}[| of the {whole}].",
            ),
            held=(
                "which {kind} is the {nth} of the {whole}?",
                "what do you call the {nth} {kind} of the {whole}?",
                "the {nth} {kind} of the {whole} is which one?",
            ),
            known=tuple(numbers),
            weight=2.5,
        ),
        Task(
            name="days in a month",
            trained=(
                "how many days [has|does] {x}[| have]?", "how many days are [there |]in {x}?",
                "how long is {x}?", *asking("the number of days in {x}"), "days in {x}?",
                "count the days [in|of] {x}.",
            ),
            held=("{x} has how many days?", "tell me how many days there are in {x}.",
                  "the month of {x} is how many days long?"),
            known=tuple(lengths),
            weight=1.5,
        ),
    )  # fmt: skip


QUOTED = "[{word}|{word}|'{word}'|\"{word}\"]"


def _colours() -> Task:
    colours = tuple(
        Fact({"thing": t}, f"{capitalise(t)} is {c}.", c, {"thing": _bare(t), "colour": c}, t)
        for t, c in facts.COLOURS.items()
    )
    return Task(
        name="colours",
        trained=(
            *asking("the [colour|color] of {thing}"),
            "[what|which] [colour|color] is {thing}?",
            "[tell me|do you know] [what|which] [colour|color] {thing} is.",
            "[what|which] [colour|color] does {thing} [have|usually have]?",
            "[name|say] the [colour|color] of {thing}.",
            "{thing} has which [colour|color]?", "[colour|color] of {thing}?",
        ),
        held=(
            "{thing} is what [colour|color]?",
            "in which [colour|color] would you paint {thing}?",
            "what is the usual [colour|color] of {thing}?",
            "if I look at {thing}, what [colour|color] do I see?",
        ),
        known=colours,
        weight=4,
        follow_ups=OF_FOLLOW,
    )  # fmt: skip


def _opposites() -> Task:
    both = {b: a for a, b in facts.OPPOSITES.items()} | facts.OPPOSITES
    opposites = tuple(
        Fact({"word": w}, f"The opposite of {w} is {o}.", o, {"word": w, "opposite": o}, w)
        for w, o in both.items()
    )
    return Task(
        name="opposites",
        trained=(
            *asking(f"the opposite of {QUOTED}"), *asking(f"the antonym of {QUOTED}"),
            "[name|say|find|write] the opposite of {word}.",
            "[which|what] word is the opposite of {word}?", "opposite of {word}?",
            "[what|which word] means the opposite of {word}?",
            "what is [not|the contrary of] {word}?",
            f"if it is not {QUOTED}, what is it?",
        ),
        held=(
            "{word} is the opposite of what?",
            "can you find a word that means the opposite of {word}?",
            "what word is opposite to {word}?",
            "the opposite of {word} is which word?",
        ),
        known=opposites,
        weight=6,
        follow_ups=OF_FOLLOW,
    )  # fmt: skip


def _plurals() -> Task:
    plurals = tuple(
        Fact({"word": w}, f"The plural of {w} is {p}.", p, {"word": w, "plural": p}, w)
        for w, p in facts.PLURALS.items()
    )
    return Task(
        name="plurals",
        trained=(
            *asking(f"the plural [|form ]of {QUOTED}"),
            "one {word}, two what?", "one {word}, many",
            "[write|say|name] the plural of {word}.",
            "[how do you|how do I] [write|say|make] the plural of {word}?",
            "[which|what] word is the plural of {word}?", "plural of {word}?",
            "[make|put] {word} [|in the ]plural.", "I have one {word}, you have two what?",
        ),
        held=(
            "what is {word} in the plural?",
            "what do you call more than one {word}?",
            "how does the plural of {word} look?",
            "{word} has which plural?",
        ),
        known=plurals,
        weight=5,
        follow_ups=OF_FOLLOW,
    )  # fmt: skip


def _bare(thing: str) -> str:
    return thing.removeprefix("an ").removeprefix("a ").removeprefix("the ")


def knowledge_tasks() -> tuple[Task, ...]:
    return (
        _capitals(),
        _countries(),
        _arithmetic(),
        *_calendar(),
        _colours(),
        _opposites(),
        _plurals(),
    )
