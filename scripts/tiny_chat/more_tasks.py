"""How are counting, spelling, definitions, languages, emoji, lists and small talk asked?

The second half of the tasks; see `tasks.py` for what a task is.
"""

from collections.abc import Iterator

from . import facts
from .phrasing import capitalise
from .tasks import Fact, Task, asking

WHO = (
    "I am tiny-chat, a small demonstration model that ships with jaxserve. I know a few facts and "
    "can show streaming, tool calls and JSON."
)
UNKNOWN = "I do not know that. I am a very small model that only shows how the server works."


def _counts() -> Iterator[Fact]:
    for low in range(16):
        for high in range(low + 2, 21):
            up = ", ".join(map(str, range(low, high + 1)))
            down = ", ".join(map(str, range(high, low - 1, -1)))
            yield Fact({"a": str(low), "b": str(high)}, up)
            yield Fact({"a": str(high), "b": str(low)}, down)


def _counting() -> tuple[Task, ...]:
    to_n = tuple(
        Fact({"n": text}, ", ".join(map(str, range(1, n + 1))))
        for n in range(3, 21)
        for text in (str(n), facts.NUMBER_WORDS[n])
    )
    return (
        Task(
            name="counting from",
            trained=(
                "[please |can you |now |]count [up |down |]from {a} to {b}.",
                "[list|write|give me|say|show] [all |]the numbers from {a} to {b}.",
                "count from {a} until {b}.",
                "[what are|name] the numbers from {a} to {b}?",
                "numbers {a} to {b}.",
                "count {a} to {b}.",
            ),
            held=(
                "start at {a} and count to {b}.",
                "could you count for me from {a} to {b}?",
                "I want you to write every number from {a} to {b}.",
            ),
            known=tuple(_counts()),
            weight=7,
        ),
        Task(
            name="counting to",
            trained=(
                "[please |can you |now |could you |]count [up |]to {n}.",
                "count from one to {n}.",
                "[list|write|say|give me] the numbers up to {n}.",
                "[list|write|say|give me] the first {n} numbers.",
                "count until {n}.",
            ),
            held=("let me hear you count to {n}.", "I want you to count up to {n}."),
            known=to_n,
            weight=2.5,
        ),
    )


def _spelling() -> tuple[Task, ...]:
    spelled = tuple(
        Fact({"word": w}, "-".join(w.upper()), "", {"word": w, "letters": list(w.upper())})
        for w in facts.SPELLING_WORDS
    )
    letters = tuple(
        Fact({"word": w}, f"The word {w} has {len(w)} letters.", str(len(w)))
        for w in facts.SPELLING_WORDS
    )
    return (
        Task(
            name="spelling",
            trained=(
                "[please |can you |now |]spell [the word |]{word}.",
                "how [do you|do I|is] [spell |]{word}[| spelled]?",
                "[tell me how to spell|help me spell|I must spell] {word}.",
                "spell '{word}'[| for me].", 'spell "{word}"[| for me].',
                "[write|say|give me] the letters of {word}.",
                "[tell me|what is|what's] the spelling of {word}?",
                "which letters are in {word}?",
            ),
            held=(
                "could you spell {word} for me?",
                "how would you spell the word {word}?",
                "say the word {word} letter by letter.",
            ),
            known=spelled,
            weight=8,
        ),
        Task(
            name="letters in a word",
            trained=(
                "how many letters [are in|are there in|has] [the word |]{word}?",
                "how many letters does [the word |]{word} have?",
                *asking("the number of letters in {word}"),
                "count the letters [in|of] {word}.", "how long is the word {word}?",
            ),
            held=(
                "the word {word} has how many letters?",
                "tell me how many letters there are in {word}.",
            ),
            known=letters,
            weight=4,
        ),
    )  # fmt: skip


def _definitions() -> Task:
    return Task(
        name="serving terms",
        trained=(
            "[what is|what's|whats|what is|what's] [a |an |the |]{term}?",
            "what does {term} mean?", "what do you mean by {term}?",
            "[define|explain|describe] [|a |the ]{term}[|.| to me.| in one sentence.]",
            "[can you|could you|please] [explain|define|describe] [|a |the ]{term}.",
            "[tell me|do you know|I want to know] what [|a |the ]{term} is.",
            "[tell me|teach me] about [|a |the ]{term}.",
            "what is meant by {term}?", "[explain|tell me] what {term} means.",
            "what are {term}s?", "{term}?", "the meaning of {term}?", "definition of {term}.",
        ),
        held=(
            "what is the meaning of {term}?",
            "in serving, what does {term} stand for?",
            "how would you explain {term} to a friend?",
            "give me a definition of {term}.",
            "I do not understand {term}, what is it?",
        ),
        known=tuple(
            Fact({"term": term}, answer, json={"term": term, "definition": answer}, follow=term)
            for term, answer in facts.DEFINITIONS.items()
        ),
        weight=8,
        follow_ups=("[and|what about|how about] [|a |the ]{follow}?",),
    )  # fmt: skip


def _translations() -> Task:
    known = tuple(
        Fact(
            {"word": word, "language": language},
            f"{capitalise(word)} in {language} is {foreign}.",
            foreign,
            {"word": word, "language": language, "translation": foreign},
        )
        for word, row in facts.TRANSLATIONS.items()
        for language, foreign in row.items()
    )
    return Task(
        name="translation",
        trained=(
            "how do [you|I] say [{word}|'{word}'|\"{word}\"] in {language}?",
            "[what is|what's] [{word}|'{word}'|the word {word}] in {language}?",
            "[translate|please translate|can you translate] [{word}|'{word}'|\"{word}\"] "
            "[to|into] {language}.",
            "[say|write] {word} in {language}.", "{word} in {language}[?|, please.]",
            *asking("the {language} word for {word}"), *asking("the {language} for {word}"),
            "how is {word} [called|said|written] in {language}?",
            "in {language}, how do [you|I] say {word}?",
            "[tell me|do you know] how to say {word} in {language}.",
        ),
        held=(
            "how would you say {word} in {language}?",
            "what do people say for {word} in {language}?",
            "which {language} word means {word}?",
            "I want to say {word} in {language}, how do I do that?",
        ),
        known=known,
        weight=9,
    )  # fmt: skip


def _pictures_and_sounds() -> tuple[Task, ...]:
    emoji = tuple(Fact({"thing": t}, e, e) for t, e in facts.EMOJI.items())
    sounds = tuple(
        Fact({"animal": a}, f"A {a} says {s}.", s, {"animal": a, "sound": s}, f"a {a}")
        for a, s in facts.SOUNDS.items()
    )
    return (
        Task(
            name="emoji",
            trained=(
                "[show me|give me|send me|send|write|show|draw|I want|please send] [a|the|an] "
                "{thing} emoji.",
                "[what is|what's] the emoji for [a |]{thing}?", "{thing} emoji[|, please].",
                "[which|what] emoji [is|means|shows] a {thing}?",
                "[answer|reply] with a {thing} emoji.", "emoji for {thing}?",
            ),
            held=(
                "can I see a {thing} emoji?",
                "do you have an emoji of a {thing}?",
                "what does the {thing} emoji look like?",
            ),
            known=emoji,
            weight=3,
        ),
        Task(
            name="animal sounds",
            trained=(
                "[what|which] sound does a {animal} make?", "what does [a|the] {animal} say?",
                "how does a {animal} [sound|go]?", *asking("the sound of a {animal}"),
                "[make|do] the sound of a {animal}.", "what noise does a {animal} make?",
                "[tell me|do you know] what a {animal} says.",
            ),
            held=(
                "what kind of sound does a {animal} make?",
                "a {animal} makes which sound?",
                "which noise comes from a {animal}?",
            ),
            known=sounds,
            weight=2.5,
            follow_ups=("[and|what about|how about] {follow}?",),
        ),
    )  # fmt: skip


def _stories() -> tuple[Fact, ...]:
    stories = tuple(Fact({"about": f"about a {t}"}, s) for t, s in facts.STORIES.items())
    default = facts.STORIES[facts.DEFAULT_STORY]
    stories += 3 * (Fact({"about": ""}, default),)
    others = facts.OTHER_STORIES[::2]
    return stories + tuple(Fact({"about": f"about {t}"}, default) for t in others)


def _long_answers() -> tuple[Task, ...]:
    lists = tuple(
        Fact({"things": things.replace("colours", word)}, answer)
        for things, answer in facts.LISTS.items()
        for word in ("colours", "colors")
    )
    poems = tuple(
        Fact({"kind": kind, "thing": thing}, text)
        for kind, text in facts.POEMS.items()
        for thing in (*facts.OTHER_STORIES, "tokens", "a server")
    )
    return (
        Task(
            name="lists",
            trained=(
                "[list|name|tell me|give me|write|show me|say] [|all ]the {things}.",
                "[list|name] {things}.", "what are [|all ]the {things}?",
                "which {things} are there?",
                "[can|could] you [list|name] the {things}?", "the {things}, please.",
                "[please |]list all {things}.", "do you know the {things}?",
            ),
            held=(
                "I need a list of the {things}.",
                "could you write down all the {things} for me?",
                "which are the {things}?",
            ),
            known=lists,
            weight=4,
        ),
        Task(
            name="stories",
            trained=(
                "[tell me|tell|write|write me|give me|I want|can you tell me|please tell me] a "
                "[|short |little |small |nice |long ]story {about}.",
                "[tell|write] a story {about}, please.", "story {about}.",
                "do you know a story {about}?", "make up a [|short ]story {about}.",
            ),
            held=(
                "I would like to hear a story {about}.",
                "could you please write a short story {about} for me?",
                "let me hear a story {about}.",
            ),
            known=_stories(),
            weight=5,
        ),
        Task(
            name="poems and jokes",
            trained=(
                "[tell me|write|write me|give me|tell|I want|can you write|please write] a "
                "[|short |little |good |funny |nice ]{kind}[|| about {thing}| for me].",
                "do you know a {kind}?", "{kind}, please.", "[make up|say] a {kind}.",
                "another {kind}.",
            ),
            held=("I would like to hear a {kind}.", "could you write a {kind} for me please?"),
            known=poems,
            weight=2.5,
        ),
    )  # fmt: skip


def tasks() -> tuple[Task, ...]:
    return (
        *_counting(), *_spelling(), _definitions(), _translations(), *_pictures_and_sounds(),
        *_long_answers(),
    )  # fmt: skip
