"""Which tools does the model learn to call, and what does it say about their results?

A `ToolKind` is one ability under many names: the function, its arguments and its result are named
differently in every conversation, so that the model has to read the definition it was given.
"""

import dataclasses
import json
import random
from collections.abc import Callable, Mapping

from . import facts
from .phrasing import draw

Arguments = dict[str, object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One wish that a tool can fulfil: slots of the wording, argument values, and the result."""

    slots: Mapping[str, str]
    values: tuple[object, ...]
    result: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToolKind:
    name: str
    functions: str
    about: str
    arguments: tuple[tuple[str, str, str], ...]
    trained: tuple[str, ...]
    held: tuple[str, ...]
    use: Callable[[random.Random], Use]
    joined: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool kind under the names of one conversation."""

    kind: ToolKind
    function: str
    arguments: tuple[str, ...]
    definition: Mapping[str, object]

    def call(self, use: Use) -> Mapping[str, object]:
        arguments = dict(zip(self.arguments, use.values, strict=True))
        return {"type": "function", "function": {"name": self.function, "arguments": arguments}}


def name_tool(rng: random.Random, kind: ToolKind) -> NamedTool:
    """Draw names and a description, and write the definition as OpenAI clients send it."""
    function = draw(rng, kind.functions)
    names = tuple(draw(rng, names) for names, _, _ in kind.arguments)
    properties: dict[str, dict[str, object]] = {}
    for name, (_, type_, about) in zip(names, kind.arguments, strict=True):
        described = {"description": draw(rng, about)} if rng.random() < 0.5 else {}
        properties[name] = {"type": type_, **described}
    parameters: dict[str, object] = {"type": "object", "properties": properties}
    if kind.name == "weather" and rng.random() < 0.25:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    if rng.random() < 0.85:
        parameters["required"] = list(names)
    said = {"description": draw(rng, kind.about)} if rng.random() < 0.9 else {}
    body = {"name": function, **said, "parameters": parameters}
    return NamedTool(kind, function, names, {"type": "function", "function": body})


def invented(rng: random.Random) -> str:
    """Make up a name, so that copying is learned rather than a list of names."""
    parts = [
        rng.choice("b c d f g k l m n p r s t v z br dr st th ch kr".split()) + rng.choice("aeiou")
        for _ in range(rng.choice((2, 2, 3)))
    ]
    return ("".join(parts) + rng.choice(("", "", "n", "r", "l", "s", "x"))).capitalize()


def any_name(rng: random.Random) -> str:
    return invented(rng) if rng.random() < 0.15 else rng.choice(facts.NAMES)


def any_city(rng: random.Random) -> str:
    known = (*facts.CAPITALS.values(), *facts.OTHER_CITIES)
    return invented(rng) if rng.random() < 0.05 else rng.choice(known)


def _weather(rng: random.Random) -> Use:
    city, degrees = any_city(rng), rng.randrange(-9, 36)
    sky = rng.choice("sunny cloudy rainy snowy windy foggy clear stormy warm cold".split())
    named = draw(rng, "[temperature|temp|temperature_c]"), draw(rng, "[condition|sky|conditions]")
    fields = {named[0]: degrees, named[1]: sky}
    if rng.random() < 0.3:
        fields = {named[1]: sky, named[0]: degrees}
    if rng.random() < 0.3:
        fields = {"city": city} | fields
    texts = (json.dumps(fields, ensure_ascii=False), f"{degrees} degrees, {sky}",
             f"{sky}, {degrees} degrees", f"{sky}, {degrees} C")  # fmt: skip
    return Use(
        slots={"city": city},
        values=(city,),
        result=texts[0] if rng.random() < 0.6 else rng.choice(texts[1:]),
        answer=f"In {city} it is {sky} with {degrees} degrees.",
    )


def _clock(rng: random.Random) -> Use:
    city, clock = any_city(rng), f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    result = clock if rng.random() < 0.5 else json.dumps({"time": clock})
    return Use(slots={"city": city}, values=(city,), result=result,
               answer=f"It is {clock} in {city}.")  # fmt: skip


def _number(rng: random.Random) -> int:
    return rng.randrange(10 ** rng.choice((1, 2, 2, 3, 3)))


def _reported(rng: random.Random, value: object) -> str:
    return str(value) if rng.random() < 0.6 else json.dumps({"result": value})


def _expression(rng: random.Random) -> Use:
    a, b, sign = _number(rng), _number(rng), rng.choice("+-*/")
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // (b or 1)}[sign]
    words = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
    asked = rng.choice((f"{a} {sign} {b}", f"{a}{sign}{b}", f"{a} {words[sign]} {b}"))
    return Use(slots={"expr": asked}, values=(f"{a} {sign} {b}",), result=_reported(rng, value),
               answer=f"The result is {value}.")  # fmt: skip


def _two_numbers(sign: str) -> Callable[[random.Random], Use]:
    def use(rng: random.Random) -> Use:
        a, b = _number(rng), _number(rng)
        value = a + b if sign == "+" else a * b
        return Use(slots={"a": str(a), "b": str(b)}, values=(a, b), result=_reported(rng, value),
                   answer=f"The result is {value}.")  # fmt: skip

    return use


TOPICS = (
    "jaxserve", "the KV cache", "black holes", "cheap flights", "the tallest mountain",
    "pasta recipes", "the world cup", "electric cars", "chess openings", "the news", "TPU prices",
    "jazz music", "winter boots", "open models", "solar power", "the moon", "cat food", "old maps",
)  # fmt: skip
SNIPPETS = (
    "It was first seen in 1967.", "There are three shops near you.", "Experts agree that it helps.",
    "The price went up by 4 percent.", "It is 8849 metres high.", "A new version came out today.",
    "It takes about 20 minutes.", "The best time is in spring.", "Most people like the red one.",
)  # fmt: skip


def _search(rng: random.Random) -> Use:
    topic = rng.choice(TOPICS) if rng.random() < 0.7 else any_name(rng)
    found = rng.choice(SNIPPETS)
    result = found if rng.random() < 0.5 else json.dumps({"results": [found]})
    return Use(slots={"topic": topic}, values=(topic,), result=result,
               answer=f"I found this: {found}")  # fmt: skip


def _done(rng: random.Random) -> str:
    return rng.choice(("ok", "done", '{"status": "ok"}', '{"ok": true}', "success", "OK"))


def _timer(rng: random.Random) -> Use:
    minutes = rng.randrange(2, 91)
    return Use(slots={"n": str(minutes)}, values=(minutes,), result=_done(rng),
               answer=f"The timer is set for {minutes} minutes.")  # fmt: skip


def _light(rng: random.Random) -> Use:
    room = rng.choice("kitchen bedroom bathroom garage office hall garden cellar".split())
    state = rng.choice(("on", "off"))
    return Use(slots={"room": room, "state": state}, values=(room, state), result=_done(rng),
               answer=f"The light in the {room} is {state}.")  # fmt: skip


def _stock(rng: random.Random) -> Use:
    symbol = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.choice((3, 4))))
    price = f"{rng.randrange(1, 999)}.{rng.randrange(100):02d}"
    result = price if rng.random() < 0.5 else f'{{"price": {price}}}'
    return Use(slots={"symbol": symbol}, values=(symbol,), result=result,
               answer=f"The price of {symbol} is {price}.")  # fmt: skip


def _message(rng: random.Random) -> Use:
    name = any_name(rng)
    said = rng.choice(("I am late", "see you soon", "happy birthday", "call me", "dinner is ready",
                       "the train is late", "good luck", "I am home", "thank you"))  # fmt: skip
    return Use(slots={"name": name, "said": said}, values=(name, said), result=_done(rng),
               answer=f"Your message to {name} was sent.")  # fmt: skip


CITY = (
    "[city|location|place|city_name]",
    "string",
    "[The city|City name|Name of the city|The city and state, e.g. San Francisco, CA]",
)
KINDS = (
    ToolKind(
        name="weather",
        functions="[get_weather|get_current_weather|weather|weather_lookup|current_weather]",
        about="[Get|Look up|Return] the [current |]weather [in|for|of] a [given |]"
        "[city|location|place][|.]",
        arguments=(CITY,),
        trained=(
            "[what is|what's|how is|how's] the weather [in|like in] {city}[| today| now]?",
            "[tell me|show me|check|I need|can you check] the weather [in|for] {city}.",
            "is it [raining|sunny|cold|warm|hot|snowing] in {city}?", "weather in {city}?",
            "do I need [an umbrella|a coat|a jacket] in {city}?",
            "how [cold|warm|hot] is it in {city}?",
        ),
        held=(
            "what weather do they have in {city} right now?",
            "could you look up the weather for {city}?",
            "will I need an umbrella in {city} today?",
        ),
        use=_weather,
        joined="[what is|what's|how is] the weather in {city} and [|in ]{city2}?",
    ),
    ToolKind(
        name="clock",
        functions="[get_time|get_current_time|time_in|world_clock|current_time]",
        about="[Get|Return|Tell] the [current |local |]time in a [city|place][|.]",
        arguments=(CITY,),
        trained=(
            "[what time is it|what is the time|what's the time] in {city}[| now]?",
            "[tell me|check|I need] the time in {city}.", "time in {city}?",
            "[can you tell me|do you know] what time it is in {city}?",
            "is it [late|early|night|morning] in {city}?",
        ),
        held=("which time is it now in {city}?", "could you check the time in {city} for me?"),
        use=_clock,
        joined="what time is it in {city} and [|in ]{city2}?",
    ),
    ToolKind(
        name="calculator",
        functions="[calculate|calculator|evaluate|compute|eval_expression]",
        about="[Evaluate|Calculate|Compute] [an|a math|an arithmetic] expression[|.]",
        arguments=(
            ("[expression|expr|formula|input]", "string", "[The expression|Math expression]"),
        ),
        trained=(
            "[what is|what's|how much is|calculate|compute|please calculate] {expr}?",
            "[can you calculate|solve|work out|evaluate] {expr}.", "{expr} = ?",
            "use the calculator for {expr}.",
        ),
        held=("could you work out {expr} for me?", "I need the result of {expr}."),
        use=_expression,
    ),
    ToolKind(
        name="add",
        functions="[add|add_numbers|sum|plus]",
        about="Add two numbers[|.]",
        arguments=(("[a|x|first]", "number", "First number"), ("[b|y|second]", "number",
                                                               "Second number")),
        trained=(
            "[what is|what's|calculate|compute|how much is] {a} [plus|+] {b}?",
            "add {a} and {b}.", "[can you |please ]add {a} [and|to] {b}.",
            "the sum of {a} and {b}, please.",
        ),
        held=("what do I get when I add {a} and {b}?", "could you compute {a} plus {b}?"),
        use=_two_numbers("+"),
    ),
    ToolKind(
        name="multiply",
        functions="[multiply|product|times|multiply_numbers]",
        about="Multiply two numbers[|.]",
        arguments=(("[a|x|first]", "number", "First number"), ("[b|y|second]", "number",
                                                               "Second number")),
        trained=(
            "[what is|what's|calculate|compute|how much is] {a} [times|*|x] {b}?",
            "multiply {a} [and|by|with] {b}.", "[can you |please ]multiply {a} [and|by] {b}.",
            "the product of {a} and {b}, please.",
        ),
        held=("what do I get when I multiply {a} by {b}?", "could you compute {a} times {b}?"),
        use=_two_numbers("*"),
    ),
    ToolKind(
        name="search",
        functions="[search|web_search|search_web|google|lookup]",
        about="[Search|Look up things on|Find pages on] the [web|internet][|.]",
        arguments=(("[query|q|text|search_query]", "string", "[What to search for|The query]"),),
        trained=(
            "[search|search the web|look|google] for {topic}.", "[look up|find|google] {topic}.",
            "[can you |please ][search for|look up] {topic}[| on the web| online]?",
            "find something about {topic}.", "what does the web say about {topic}?",
        ),
        held=("could you search the internet for {topic}?", "please find pages about {topic}."),
        use=_search,
    ),
    ToolKind(
        name="timer",
        functions="[set_timer|start_timer|timer|create_timer]",
        about="[Set|Start] a timer[|.]",
        arguments=(
            ("[minutes|duration|duration_minutes|mins]", "integer", "[Minutes|Time in minutes]"),
        ),
        trained=(
            "[set|start|please set|can you set|I need] a timer [for|of] {n} minutes.",
            "[set a|start a] {n} minute timer.", "wake me in {n} minutes.", "timer: {n} minutes",
            "tell me when {n} minutes are over.",
        ),
        held=("could you start a timer of {n} minutes?", "I need a {n} minute timer."),
        use=_timer,
    ),
    ToolKind(
        name="light",
        functions="[set_light|switch_light|light|control_light]",
        about="[Switch|Turn] a light on or off[|.]",
        arguments=(("[room|where|location]", "string", "[The room|Room name]"),
                   ("[state|mode|status]", "string", "on or off")),
        trained=(
            "[turn|switch|please turn|can you turn] {state} the light in the {room}.",
            "[turn|switch] the {room} light {state}.", "{room} light {state}, please.",
            "lights {state} in the {room}.",
        ),
        held=("could you switch the light in the {room} {state}?",
              "I want the {room} light {state}."),
        use=_light,
    ),
    ToolKind(
        name="stock",
        functions="[get_stock_price|stock_price|get_quote|quote]",
        about="[Get|Return] the price of a stock[|.]",
        arguments=(("[symbol|ticker|stock]", "string", "[Ticker symbol|The symbol]"),),
        trained=(
            "[what is|what's|tell me|check] the [stock |share |]price of {symbol}?",
            "how much is {symbol}[| stock]?", "{symbol} price?",
            "[price|quote] of {symbol}, please.",
        ),
        held=("could you check the price of {symbol} stock?", "how much does {symbol} cost now?"),
        use=_stock,
    ),
    ToolKind(
        name="message",
        functions="[send_message|message|send_sms|text_message]",
        about="Send a [|text ]message to [someone|a person|a contact][|.]",
        arguments=(("[to|recipient|name]", "string", "[Who gets it|Name of the person]"),
                   ("[text|message|body]", "string", "[The text|What to say]")),
        trained=(
            "[tell|text|message] {name}: {said}.", "send {name} a message: {said}.",
            "[send|write] a message to {name} saying: {said}.", "text {name} '{said}'.",
            "[please|can you] tell {name}: {said}.",
        ),
        held=("could you send {name} this message: {said}.", "please write to {name}: {said}."),
        use=_message,
    ),
)  # fmt: skip
