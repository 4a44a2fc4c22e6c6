"""What does tiny-chat say about itself, to greetings, and to questions it cannot answer?"""

import random

from . import facts
from .more_tasks import UNKNOWN, WHO
from .tasks import Fact, Task

HELLO = "Hello! I am tiny-chat. How can I help you?"
FINE = "I am fine, thank you. How can I help you?"


def _fixed(
    name: str, answer: str, trained: tuple[str, ...], held: tuple[str, ...], weight: float
) -> Task:
    return Task(name=name, trained=trained, held=held, known=(Fact({}, answer),), weight=weight)


def _greetings() -> tuple[Task, ...]:
    return (
        _fixed(
            "greetings",
            HELLO,
            (
                "[hello|hi|hey|hello there|hi there|hey there|good morning|good evening|howdy|"
                "greetings|hello hello|good day|yo|hiya|good afternoon][|!|.]",
                "[hello|hi|hey|good morning] [tiny-chat|friend|model|you|everyone|bot|again][|!|.]",
                "[say|please say] [hi|hello][|.| to me.]", "[hi|hello][|!] anyone there?",
                "[hello|hi], can you hear me?", "[are you there|anybody home|are you awake]?",
                "[hi|hello], nice to meet you.",
            ),
            ("hello my friend!", "hey, anyone there?", "hi, how nice to see you!",
             "hello, is anybody awake?", "good morning to you!"),
            4,
        ),
        _fixed(
            "how are you",
            FINE,
            (
                "[|hi, |hello, ]how are you[| today| doing| doing today]?", "how do you do?",
                "[|hi, |hello! ]how is it going?", "are you [well|ok|fine|happy]?",
                "how do you feel[| today]?", "what's up?", "[|hello, ]how are things?",
            ),
            ("how are you feeling today?", "hello, how do you do today?", "is everything ok?"),
            2,
        ),
        _fixed(
            "thanks",
            "You are welcome!",
            (
                "[thanks|thank you|thanks a lot|thank you very much|many thanks|thank you so much|"
                "cool, thanks|great, thank you|ok, thanks|thx][|!|.]",
                "[that was|that is] [helpful|great|good|nice][|, thanks|, thank you].",
            ),
            ("thanks very much!", "great, thanks a lot!", "I thank you very much!"),
            2,
        ),
        _fixed(
            "goodbye",
            "Goodbye! Have a nice day.",
            (
                "[bye|goodbye|bye bye|see you|see you later|good night|see you soon|farewell|"
                "see you tomorrow][|!|.]",
                "[ok|thanks], [bye|goodbye|good night].",
                "[ok|thanks|great|thank you], [see you|see you later|see you tomorrow].",
                "[bye|good night] and [see you later|thank you].", "I [must|have to] go[| now].",
            ),
            ("see you later, my friend!", "thanks, see you soon!", "good night and goodbye!"),
            2,
        ),
    )  # fmt: skip


def _about_itself() -> tuple[Task, ...]:
    return (
        _fixed(
            "who are you",
            WHO,
            (
                "[who|what] are you[|, please| exactly| then]?", "[who|what] is tiny-chat?",
                "[what is|what's|tell me] your name?", "[tell me|say] who you are.",
                "[introduce|describe|present] yourself[| please].", "which model are you?",
                "[what|which] [model|AI|assistant|bot] [is this|are you|am I talking to]?",
                "[who|what] am I talking [to|with]?", "tell me about yourself.",
                "are you [ChatGPT|GPT|Claude|Gemini|Llama|a human|a person|a robot|an AI|a bot|"
                "real]?",
                "do you have a name?", "what should I call you?", "hi, who are you?",
                "hello, [who|what] are you?", "what kind of [model|AI|assistant] are you?",
                "what can you do[| for me]?", "what do you know?", "what things do you know?",
                "what are you able to do?",
                "[how can you help me|what can I ask you|help]?", "how big are you?",
                "are you a [small|big|large|language] model?", "who made you?", "who built you?",
                "who trained you?", "where do you come from?",
            ),
            (
                "can you tell me who you are?", "what is the name of this model?",
                "please introduce yourself to me.", "are you a real person?",
                "what things can you do?", "say, who is this?",
            ),
            6,
        ),
    )  # fmt: skip


UNKNOWN_TOPICS = (
    "the stock market", "quantum physics", "the French revolution", "football", "a black hole",
    "World War II", "cooking rice", "chess", "opera", "evolution", "taxes", "the pyramids",
    "electric cars", "philosophy", "Shakespeare", "Napoleon", "the Roman Empire", "photosynthesis",
    "cancer", "dinosaurs", "blockchain", "the economy", "Einstein", "Mozart", "guitar music",
    "climate change", "basketball", "wine", "law", "geometry", "volcanoes", "sharks", "yoga",
    "the internet", "politics", "religion", "the moon landing", "Beethoven", "gravity", "magnets",
)  # fmt: skip
UNKNOWN_TASKS = (
    "a Python function", "an essay", "a business plan", "an email to my boss", "a song text",
    "a website", "a recipe", "a sorting algorithm", "a SQL query", "a letter", "a speech",
    "a regex", "a shell script", "a cover letter", "a summary of a book", "a unit test", "a tweet",
    "a novel", "a proof", "a contract",
)  # fmt: skip
UNKNOWN_WORDINGS = (
    "[explain|describe|what do you know about|tell me about|tell me more about] "
    "{topic}[|.]",
    "[what is|how does|what about|why is|who discovered] {topic}[| work]?",
    "[who invented|what caused|what do you think of|do you like] {topic}?",
    "[why|when] did {topic} [happen|start|begin]?", "[give me|write] a text about {topic}.",
    "[write|write me|make|please write|can you write|create|help me write] {work}"
    "[| for me| about {topic}].",
    "[who won|what happened in] [the world cup|the election|the war|the race] in {year}?",
    "who was born in {year}?", "what happened in {year}?",
    "[who is|who was|name] the [president|king|queen|prime minister|leader] of {country}?",
    "[what is|how large is|tell me] the [population|area|currency|flag|language|president] "
    "of {country}?",
    "how many people live in {country}?", "[what is|what's] the weather [in {city}|today|"
    "tomorrow|like in {city}]?",
    "[what|which] time is it[| in {city}| now]?", "how do I get to {city}?",
    "[what|how much] is {big}?", "[calculate|compute] {big}.", "who is {name}?",
    "[what is|what's] the [meaning|sense] of life?", "[what is|what's] [your|my] "
    "[phone number|address|password|favourite film|opinion]?",
    "how far is {city} from {country}?", "how tall is [{name}|the Eiffel Tower|a giraffe]?",
    "[what|which] is the best [restaurant|hotel|film|school] in {city}?",
    "how much [does|do] [a car|a house|bread|gold] cost in {city}?",
    "how old is [{name}|the king of {country}|the universe]?",
    "when was [{name}|the president of {country}|the first computer] born?",
    "[search|look up|google] {topic}.", "set a timer for 5 minutes.",
    "[fix|debug|review] this code: x = {year}", "asdf {year}", "lorem ipsum {topic}",
    "is {topic} [true|good|bad|dangerous|important]?", "translate this text about {topic}.",
    "should I [buy|sell|learn|like] {topic}?", "can you [play|teach me|draw] {topic}?",
)  # fmt: skip


def _large_sum(rng: random.Random) -> str:
    a, b = rng.randrange(23, 999), rng.randrange(23, 999)
    return f"{a} {rng.choice(('times', '*', 'divided by', '/'))} {b}"


def _unknown() -> Task:
    rng = random.Random(7)
    countries = tuple(facts.CAPITALS)
    known = tuple(
        Fact(
            {
                "topic": topic,
                "work": rng.choice(UNKNOWN_TASKS),
                "country": rng.choice(countries),
                "city": rng.choice(facts.OTHER_CITIES),
                "year": str(rng.randrange(1900, 2026)),
                "big": _large_sum(rng),
                "name": rng.choice(facts.NAMES),
            },
            UNKNOWN,
        )
        for topic in UNKNOWN_TOPICS
        for _ in range(10)
    )
    return Task(
        name="unknown",
        trained=UNKNOWN_WORDINGS,
        held=(
            "what can you say about {topic}?",
            "how many people are there in {city}?",
            "please help me with {work} about {topic}.",
            "who was the president of {country} in {year}?",
            "who won the {topic} championship in {year}?",
            "how did {topic} change the world?",
        ),
        known=known,
        weight=13,
    )  # fmt: skip


def tasks() -> tuple[Task, ...]:
    return (*_greetings(), *_about_itself(), _unknown())
