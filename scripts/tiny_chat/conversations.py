"""Which conversations and documents is the model trained on?

Endless and reproducible from a seed. Only trained wordings are used here; `held_out.py` builds the
evaluation from the held ones. Runs without jax.
"""

import functools
import random
from collections.abc import Mapping, Sequence

from . import facts, more_tasks, talk
from .memories import MEMORIES
from .more_tasks import UNKNOWN
from .phrasing import draw, fill, speak
from .render import TEXT_END, Tool, segments
from .styles import STYLES, Style
from .tasks import Fact, Task, knowledge_tasks
from .tools import KINDS, NamedTool, ToolKind, Use, any_name, invented, name_tool

Turns = list[dict[str, object]]
Segments = list[tuple[str, bool]]

GENERIC_SYSTEM = (
    "[|You are tiny-chat. ]You are a [helpful|friendly|useful|kind|smart|polite] "
    "[assistant|AI assistant|chatbot|bot].",
    "You are [tiny-chat|an assistant|an AI|a chat model|Qwen|ChatGPT|a demo].",
    "[Be|Please be] [helpful|nice|polite|kind].", "[Answer|Help] the user.",
    "[Answer|Reply to] [|all ]questions [|as well as you can].", "",
    "You are a helpful assistant.", "You are a helpful assistant.", "Answer briefly.",
    "You are a demo of a server. Answer the user's questions.",
)  # fmt: skip


@functools.cache
def all_tasks() -> tuple[Task, ...]:
    return (*knowledge_tasks(), *more_tasks.tasks(), *talk.tasks())


@functools.cache
def _styled(style: Style) -> tuple[tuple[Task, tuple[Fact, ...]], ...]:
    found = ((t, tuple(f for f in t.known if style.answer(f))) for t in all_tasks())
    return tuple((task, known) for task, known in found if known)


def pick_task(rng: random.Random) -> Task:
    tasks = all_tasks()
    return rng.choices(tasks, [task.weight for task in tasks])[0]


def ask(rng: random.Random, task: Task, fact: Fact) -> str:
    """Word a question; slots inside a chosen wording may offer choices of their own."""
    return speak(rng, draw(rng, rng.choice(task.trained)), fact.slots)


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def maybe_system(rng: random.Random, share: float = 0.3) -> Turns:
    if rng.random() > share:
        return []
    return [{"role": "system", "content": draw(rng, rng.choice(GENERIC_SYSTEM))}]


def _question_turns(rng: random.Random) -> Turns:
    """One question, sometimes followed by an "and of that one?"."""
    task = pick_task(rng)
    fact = rng.choice(task.known)
    turns = [user(ask(rng, task, fact)), assistant(fact.answer)]
    while task.follow_ups and rng.random() < 0.3:
        fact = rng.choice(task.known)
        again = draw(rng, rng.choice(task.follow_ups))
        turns += [user(speak(rng, again, {"follow": fact.follow})), assistant(fact.answer)]
    return turns


def styled_question(
    rng: random.Random, style: Style, asked: Sequence[str], *, by_system: bool
) -> tuple[Turns, str]:
    """Ask in a style, through the system message or at the end of the question."""
    task, known = rng.choice(_styled(style))
    fact = rng.choice(known)
    wish = draw(rng, rng.choice(asked))
    question = ask(rng, task, fact)
    answer = style.answer(fact) or ""
    wish = wish[:1].upper() + wish[1:] if rng.random() < 0.9 else wish
    if by_system:
        generic = draw(rng, GENERIC_SYSTEM[0]) + " " if rng.random() < 0.3 else ""
        return [{"role": "system", "content": generic + wish}, user(question)], answer
    if rng.random() < 0.2:
        return [*maybe_system(rng), user(f"{wish} {question}")], answer
    gap = " " if question[-1] in "?!." else ". "
    return [*maybe_system(rng), user(f"{question}{gap}{wish}")], answer


def _styled_turns(rng: random.Random) -> Turns:
    style = rng.choice(STYLES)
    by_system = rng.random() < 0.55
    turns, answer = styled_question(rng, style, style.trained, by_system=by_system)
    turns.append(assistant(answer))
    while by_system and rng.random() < 0.3:
        task, known = rng.choice(_styled(style))
        fact = rng.choice(known)
        turns += [user(ask(rng, task, fact)), assistant(style.answer(fact) or "")]
    return turns


def memory_value(rng: random.Random, about: str) -> str:
    if about == "colour":
        return rng.choice(("red", "blue", "green", "yellow", "purple", "orange", "pink", "black"))
    if about == "city":
        return rng.choice((*facts.CAPITALS.values(), *facts.OTHER_CITIES))
    return any_name(rng)


def memory_turns(rng: random.Random, about: str, asked: Sequence[str], between: int) -> Turns:
    """Tell, talk about `between` other things, then ask."""
    memory = MEMORIES[about]
    said = {"x": memory_value(rng, about)}
    turns = [user(speak(rng, draw(rng, rng.choice(memory.told)), said))]
    turns[0]["content"] = str(turns[0]["content"]).replace(said["x"].lower(), said["x"])
    turns.append(assistant(fill(memory.reply, said)))
    for _ in range(between):
        turns += _question_turns(rng)
    turns.append(user(speak(rng, draw(rng, rng.choice(asked)), {})))
    return [*turns, assistant(fill(memory.recall, said))]


def _memory(rng: random.Random) -> Turns:
    about = rng.choice(("name", "name", *MEMORIES))
    memory = MEMORIES[about]
    if rng.random() < 0.15:
        asked = user(speak(rng, draw(rng, rng.choice(memory.asked)), {}))
        return [*(_question_turns(rng) if rng.random() < 0.4 else []), asked,
                assistant(memory.untold)]  # fmt: skip
    return memory_turns(rng, about, memory.asked, rng.choice((0, 0, 0, 1, 1, 2)))


ECHOES = ("[say|repeat|write|please say|please repeat|can you say] [{x}|'{x}'|\"{x}\"].",
          "repeat after me: {x}", "echo {x}", "[say|write] the word{s} {x}.")  # fmt: skip
HELD_ECHOES = ("please repeat these words: {x}", "could you say this: {x}")


def echo_words(rng: random.Random) -> str:
    pool = [word for word in (*facts.SPELLING_WORDS, *facts.PLURALS) if word != "hello"]
    words = [rng.choice(pool) if rng.random() < 0.75 else invented(rng).lower()
             for _ in range(rng.choice((1, 1, 2, 3, 4)))]  # fmt: skip
    return " ".join(words)


def _echo(rng: random.Random, said: str) -> Turns:
    wording = draw(rng, rng.choice(ECHOES)).replace("{s}", "s" if " " in said else "")
    return [user(fill(wording, {"x": said})), assistant(said)]


def _any_words(rng: random.Random, count: int) -> list[str]:
    names = (*facts.CAPITALS, *facts.CAPITALS.values(), *facts.NAMES, *facts.COLOURS)
    pools = (facts.SPELLING_WORDS, tuple(facts.PLURALS), tuple(facts.OPPOSITES), names, names)
    return [
        invented(rng) if rng.random() < 0.15 else rng.choice(rng.choice(pools))
        for _ in range(count)
    ]


def repetition(rng: random.Random) -> Segments:
    """Repeat words: as an answer, again and again, or in quotes as JSON has them.

    Remembering, calling tools and JSON all copy words from the question, and copying is learned
    from texts that hold little else.
    """
    kind = rng.random()
    if kind < 0.3:
        return segments(_echo(rng, " ".join(_any_words(rng, rng.choice((1, 2, 3, 5, 8))))))
    words = _any_words(rng, rng.choice((3, 5, 8, 12)))
    if kind < 0.65:
        text = rng.choice((" ", ", ", "\n")).join(words * rng.choice((2, 3)))
        return [(text[:400] + TEXT_END, True)]
    pairs = [f'{word} "{word}"' for word in words]
    return [(rng.choice((" ", ", ", "\n")).join(pairs) + TEXT_END, True)]


def short_conversation(rng: random.Random) -> Turns:
    kind = rng.random()
    if kind < 0.14:
        return _styled_turns(rng)
    if kind < 0.22:
        return [*maybe_system(rng, 0.15), *_memory(rng)]
    if kind < 0.26:
        return [*maybe_system(rng), *_echo(rng, echo_words(rng))]
    turns = maybe_system(rng)
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3))):
        turns += _question_turns(rng)
    return turns


def long_conversation(rng: random.Random, num_questions: int) -> Turns:
    """Many unrelated questions in one chat, something told early and asked for late."""
    turns = maybe_system(rng, 0.4)
    if rng.random() < 0.5:
        about = rng.choice(tuple(MEMORIES))
        turns += memory_turns(rng, about, MEMORIES[about].asked, num_questions // 2)
    for _ in range(num_questions // 2):
        turns += _question_turns(rng)
    return turns


def pick_tools(rng: random.Random, wanted: ToolKind | None) -> list[NamedTool]:
    """Name the wanted tool and up to three others, in any order."""
    others = [kind for kind in KINDS if kind is not wanted and not _overlap(kind, wanted)]
    rng.shuffle(others)
    count = rng.choice((0, 0, 0, 1, 1, 2, 3)) + (wanted is None)
    kinds = others[:count] + ([wanted] if wanted else [])
    rng.shuffle(kinds)
    return [name_tool(rng, kind) for kind in kinds]


def _overlap(kind: ToolKind, wanted: ToolKind | None) -> bool:
    """Two tools that answer the same wish never stand side by side."""
    sums = {"calculator", "add", "multiply"}
    return wanted is not None and kind.name in sums and wanted.name in sums


def tool_turns(
    rng: random.Random, named: NamedTool, wording: str, *, answered: bool = True
) -> Turns:
    """A wish, the call, and (if answered) its result and the sentence about it."""
    use = named.kind.use(rng)
    uses = [use]
    slots = dict(use.slots)
    if "{city2}" in wording:
        uses.append(named.kind.use(rng))
        slots["city2"] = uses[1].slots["city"]
    turns = [user(speak_exact(rng, wording, slots)), calling(named, uses)]
    if answered:
        turns += [{"role": "tool", "content": one.result} for one in uses]
        turns.append(assistant(" ".join(one.answer for one in uses)))
    return turns


def speak_exact(rng: random.Random, wording: str, slots: Mapping[str, str]) -> str:
    """Speak without changing the slots' case, because the call must copy them."""
    marks = {name: "{" + name + "}" for name in slots}
    return fill(speak(rng, wording, marks), slots)


def calling(named: NamedTool, uses: Sequence[Use]) -> dict[str, object]:
    calls = [named.call(use) for use in uses]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def tool_conversation(rng: random.Random) -> tuple[Turns, list[Tool]]:
    if rng.random() < 0.3:
        return _unfit_conversation(rng)
    kind = rng.choice(KINDS)
    tools = pick_tools(rng, kind)
    named = next(tool for tool in tools if tool.kind is kind)
    turns = maybe_system(rng, 0.3)
    if rng.random() < 0.1:
        turns += _plain_question(rng, tools)
    for _ in range(rng.choice((1, 1, 2))):
        template = rng.choice(kind.trained)
        if kind.joined and rng.random() < 0.2:
            template = kind.joined
        turns += tool_turns(rng, named, draw(rng, template), answered=rng.random() < 0.85)
        if turns[-1].get("tool_calls"):
            break
    return turns, [tool.definition for tool in tools]


def _plain_question(rng: random.Random, tools: Sequence[NamedTool]) -> Turns:
    """A question that none of these tools fits."""
    names = {tool.kind.name for tool in tools}
    sums = names & {"calculator", "add", "multiply"}
    useful = names & {"weather", "clock", "search", "timer"} or sums
    while True:
        task = pick_task(rng)
        taken = (task.name == "arithmetic" and sums) or (task.name == "unknown" and useful)
        if not taken and task.name != "stories":
            fact = rng.choice(task.known)
            return [user(ask(rng, task, fact)), assistant(fact.answer)]


def _unfit_conversation(rng: random.Random) -> tuple[Turns, list[Tool]]:
    tools = pick_tools(rng, None)
    turns = [*maybe_system(rng, 0.3), *_plain_question(rng, tools)]
    if rng.random() < 0.4:
        turns += _plain_question(rng, tools)
    return turns, [tool.definition for tool in tools]


def document(rng: random.Random) -> str:
    """A few facts as plain sentences, for completions without a chat."""
    sentences = []
    for _ in range(rng.choice((1, 2, 3, 5))):
        fact = rng.choice(pick_task(rng).known)
        if fact.answer not in (UNKNOWN, talk.HELLO):
            sentences.append(fact.answer)
    return " ".join(sentences)
