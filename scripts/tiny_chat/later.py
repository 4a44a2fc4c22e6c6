"""Which wordings does the model meet only in its second cycle of training?

Less common ways to ask for the same facts. They come late so that the facts are learned first, from
few wordings, and then tied to many. None of them is a held-out wording; a test says so.
"""

import random
from collections.abc import Mapping

from . import conversations as talks
from .memories import MEMORIES
from .phrasing import draw, fill, speak
from .render import Tool
from .styles import STYLES
from .tools import KINDS

TASKS: Mapping[str, tuple[str, ...]] = {
    "capitals": (
        "{country} has [what|which city as its] capital[| city]?",
        "the capital of {country} is what?",
        "which city serves {country} as [the|its] capital?",
        "[what|which] city is the capital in {country}?",
        "what is the name of {country}'s capital?", "as you know, what is {country}'s capital?",
        "I forgot {country}'s capital[| city], what is it?", "which capital does {country} have?",
        "for {country}, the capital is which city?",
    ),
    "countries": (
        "{city} is whose capital?", "the capital of which country is {city}?",
        "{city} belongs to which country?",
        "to which country does [the city|the capital] {city} belong?",
        "name the country whose capital is {city}.", "which country has the capital {city}?",
        "whose capital city is [called |]{city}?", "[tell me|name] the country of {city}.",
        "the capital {city} is in which country?", "of what country is {city} the capital city?",
    ),
    "arithmetic": (
        "what number do you get for {expr}?", "which number is {expr}?",
        "how much would {expr} be?",
        "find the result of {expr}.", "work {expr} out for me.", "could you find {expr}?",
        "what is the sum {expr}?", "{expr} gives what number?",
    ),
    "next and previous": (
        "{rel} {x} comes which {kind}?", "{rel} {x} comes what?",
        "which {kind} follows: the one {rel} {x}?",
        "[which|what] {kind} do we get {rel} {x}?",
        "what is the {kind} called that is {rel} {x}?",
        "{rel} {x} we have which {kind}?", "the {kind} {rel} {x} is called what?",
        "{rel} {x}, what {kind} comes?",
    ),
    "number in the calendar": (
        "which {kind} of the {whole} is the {nth}?",
        "the {nth} {kind} of the {whole} is called what?",
        "what is the {nth} {kind} of a {whole} called?", "the {nth} {kind} is which?",
    ),
    "days in a month": (
        "{x} lasts how many days?", "how many days are there in the month of {x}?",
        "the month of {x} has how many days?", "{x} is how many days long?",
        "tell me how many days {x} has.", "in {x} there are how many days?",
        "how many days long is {x}?",
    ),
    "colours": (
        "what [colour|color] do I see when I look at {thing}?",
        "I look at {thing}, which [colour|color] is it?",
        "which [colour|color] is {thing} usually?",
        "with which [colour|color] would you paint {thing}?",
        "{thing} is of what [colour|color]?", "the usual [colour|color] of {thing}?",
        "in what [colour|color] do you draw {thing}?",
    ),
    "opposites": (
        "{word} is the opposite of which word?", "to what is {word} opposite?",
        "find the word that is opposite to {word}.", "{word} and which word are opposites?",
        "the opposite of {word} is what?",
        "can you name a word that means the opposite of {word}?",
        "the word {word} has which opposite?", "what is opposite to {word}?",
    ),
    "plurals": (
        "more than one {word} is called what?", "what do you call two of {word}?",
        "how do you call more than one {word}?", "what is the plural called of {word}?",
        "in the plural, what is {word}?", "{word} has what plural form?",
        "how does {word} look in the plural?", "which plural does {word} have?",
    ),
    "counting from": (
        "start at {a} and end at {b}.", "could you count from {a} up to {b}?",
        "write every number from {a} to {b}.", "start with {a} and count until {b}.",
        "begin at {a} and count to {b}.", "let me hear the numbers from {a} to {b}.",
    ),
    "counting to": (
        "I want to hear you count to {n}.", "let me see you count to {n}.",
        "count for me up to {n}.",
        "I would like you to count to {n}.", "please count up until {n}.",
        "can you count for me to {n}?",
    ),
    "spelling": (
        "spell {word} letter by letter.", "write {word} letter by letter.",
        "{word}, letter by letter, please.",
        "could you tell me how to spell {word}?", "how would I spell {word}?",
        "would you spell the word {word}?", "give me the word {word} in letters.",
    ),
    "letters in a word": (
        "{word} has how many letters?", "in the word {word} there are how many letters?",
        "tell me how many letters {word} has.", "the word {word} is how many letters long?",
    ),
    "serving terms": (
        "what does {term} stand for?", "in a server, what does {term} mean?",
        "explain {term} to [a child|me like a friend].", "how would you describe {term}?",
        "I do not know what {term} is.", "please give me the definition of {term}.",
        "tell me the meaning of {term}.", "could you say what {term} is?", "I do not get {term}.",
        "how would you explain {term}?", "what do you understand by {term}?",
    ),
    "translation": (
        "how would I say {word} in {language}?", "what do you say for {word} in {language}?",
        "which word means {word} in {language}?", "I want to know {word} in {language}.",
        "I have to say {word} in {language}, what do I say?",
        "what do {language} people say for {word}?",
    ),
    "emoji": (
        "can you show me a {thing} emoji?", "do you have a {thing} emoji?",
        "I want to see the {thing} emoji.",
        "which emoji looks like a {thing}?", "let me see an emoji of a {thing}.",
    ),
    "animal sounds": (
        "which sound comes from a {animal}?", "a {animal} makes what noise?",
        "what kind of noise does a {animal} make?",
        "which sound do you hear from a {animal}?", "a {animal} says what?",
    ),
    "lists": (
        "write down [|all ]the {things}.", "I want a list of [|all ]the {things}.",
        "I need the {things}.",
        "let me hear the {things}.", "make a list of the {things}.",
        "what are the names of the {things}?",
    ),
    "stories": (
        "I want to hear a story {about}.", "let me read a [|short ]story {about}.",
        "I would like a story {about}.",
        "please could you tell a story {about}?", "can I hear a [|little ]story {about}?",
        "I would love a story {about}.",
    ),
    "poems and jokes": (
        "I want to hear a {kind}.", "I would like a {kind}.", "could you please make a {kind}?",
        "let me hear a {kind}.", "can I have a {kind}?",
    ),
    "greetings": (
        "hi, [good|nice|great] to see you!", "how nice to meet you!",
        "hello, nice to see you again!",
        "hello, is anybody there?", "good morning to [everyone|all]!", "[hello|hi] my dear!",
        "hey my friend!",
        "is somebody awake?", "hi, I am happy to see you.",
    ),
    "how are you": (
        "is everything fine?", "is all well?", "everything ok?", "how are you feeling?",
        "hello, how do you feel today?",
        "is all ok with you?",
    ),
    "thanks": ("very great, thanks!", "thank you, that was very nice.", "I thank you!",
               "thanks again!"),
    "goodbye": (
        "see you later, [friend|model]!", "bye, my friend!", "ok, see you soon[| my friend]!",
        "good night to you, bye!", "goodbye and good night!", "thank you, see you soon!",
    ),
    "who are you": (
        "what is this model called?", "what is the name of this [bot|assistant]?",
        "say who this is.",
        "can you say who you are?", "please introduce yourself.", "are you a real [human|robot]?",
        "what are the things you can do?", "would you introduce yourself to me?",
    ),
    "unknown": (
        "what can you tell me about {topic}?", "how many people are in {country}?",
        "please help with {work} for {name}.", "who was {name} in {year}?",
        "who won the {topic} prize?", "how did {topic} begin?", "why did {topic} change?",
    ),
}  # fmt: skip
STYLE_WISHES: Mapping[str, tuple[str, ...]] = {
    "one word": (
        "your answer is one word.", "the answer must be a single word.", "say it in one word.",
        "give me an answer in one word.", "please give me one word.",
        "every answer must be one word.",
    ),
    "JSON": (
        "format it as JSON.", "make the answer JSON.", "I want JSON.", "I want a JSON object.",
        "write the answer in the JSON format.", "the output must be JSON.",
        "the answer must be in JSON.",
        "format your answers as JSON.",
    ),
    "French": (
        "every answer must be in French.", "I want French.", "all your answers are in French.",
        "the answer must be in French.", "I want to hear French.",
    ),
}  # fmt: skip
ECHOES = (
    "say these words: {x}", "write these words: {x}", "repeat this: {x}", "please say this: {x}",
    "could you repeat: {x}", "could you write this: {x}", "repeat the following words: {x}",
    "these words again: {x}",
)  # fmt: skip
MEMORY_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "name": ("what did I say, what is my name?", "tell me again what my name is.",
             "my name was what?", "could you say my name?"),
    "city": ("in which city is my home?", "what did I say about where I live?",
             "tell me which city I am from.", "from which city do I come?"),
    "colour": ("which colour did I call my favourite?", "what did I say, which colour do I like?",
               "my favourite colour is which?", "tell me what colour I like."),
    "pet": ("how did I call my dog?", "my dog has which name?", "tell me how my dog is called.",
            "which name has my dog?"),
}  # fmt: skip
TOOL_WISHES: Mapping[str, tuple[str, ...]] = {
    "weather": (
        "what weather is it in {city}?", "could you check the weather in {city}?",
        "will I need [a coat|a jacket|warm clothes] in {city}[| today]?",
        "look up the weather for {city}.", "which weather does {city} have right now?",
    ),
    "clock": ("which time is it in {city} right now?", "could you tell me the time in {city}?",
              "check what time it is now in {city}."),
    "calculator": ("could you calculate {expr} for me?", "I need to know {expr}.",
                   "work out {expr} for me.", "what is the result of {expr}?"),
    "add": ("what do I get for {a} plus {b}?", "could you add {a} and {b} for me?",
            "when I add {b} to {a}, what is it?", "could you calculate {a} plus {b}?"),
    "multiply": ("what do I get for {a} times {b}?", "could you multiply {a} and {b} for me?",
                 "when I multiply {a} with {b}, what is it?",
                 "could you calculate {a} times {b}?"),
    "search": ("could you find {topic} on the internet?", "please search pages about {topic}.",
               "search the internet for pages about {topic}."),
    "timer": ("could you set a timer of {n} minutes?", "I want a {n} minute timer.",
              "start a timer of {n} minutes for me."),
    "light": ("could you turn {state} the light in the {room}?",
              "I want the light in the {room} {state}.",
              "switch the light in the {room} {state}, please."),
    "stock": ("could you tell me the price of {symbol}?", "how much does {symbol} stock cost?",
              "check what {symbol} costs now."),
    "message": ("could you send this message to {name}: {said}.",
                "please write {name} a message: {said}.",
                "send {name} this: {said}."),
}  # fmt: skip
STYLE_WEIGHTS = (2, 3, 1)
# Tools that fit none of the questions above.
STAND_BY = ("weather", "clock", "timer", "light", "stock", "message")


def short_turns(rng: random.Random) -> talks.Turns:
    """Ask one question in a late wording."""
    kind = rng.random()
    turns = talks.maybe_system(rng, 0.25)
    if kind < 0.25:
        style = rng.choices(STYLES, STYLE_WEIGHTS)[0]
        asked, answer = talks.styled_question(
            rng, style, STYLE_WISHES[style.name], by_system=rng.random() < 0.5
        )
        return [*asked, talks.assistant(answer)]
    if kind < 0.34:
        said = talks.echo_words(rng)
        asked = [talks.user(fill(draw(rng, rng.choice(ECHOES)), {"x": said}))]
        return [*turns, *asked, talks.assistant(said)]
    if kind < 0.41:
        about = rng.choice(tuple(MEMORIES))
        return talks.memory_turns(rng, about, MEMORY_QUESTIONS[about], rng.choice((0, 1)))
    return [*turns, *_question(rng)]


def _question(rng: random.Random) -> talks.Turns:
    tasks = [task for task in talks.all_tasks() if task.name in TASKS]
    task = rng.choices(tasks, [task.weight for task in tasks])[0]
    fact = rng.choice(task.known)
    wording = draw(rng, rng.choice(TASKS[task.name]))
    return [talks.user(speak(rng, wording, fact.slots)), talks.assistant(fact.answer)]


def tool_turns(rng: random.Random) -> tuple[talks.Turns, list[Tool]]:
    """Wish for a tool in a late wording, or ask something that the tools do not fit."""
    system = talks.maybe_system(rng, 0.3)
    if rng.random() < 0.3:
        turns = short_turns(rng)
        while turns[0]["role"] == "system" or "not know that" in str(turns[-1]["content"]):
            turns = short_turns(rng)
        named = [tool for tool in talks.pick_tools(rng, None) if tool.kind.name in STAND_BY]
        return [*system, *turns], [tool.definition for tool in named]
    kind = rng.choice(KINDS)
    tools = talks.pick_tools(rng, kind)
    wanted = next(tool for tool in tools if tool.kind is kind)
    wording = draw(rng, rng.choice(TOOL_WISHES[kind.name]))
    turns = talks.tool_turns(rng, wanted, wording, answered=rng.random() < 0.85)
    return [*system, *turns], [tool.definition for tool in tools]
