"""Which questions measure the model?

Known facts in wordings that were never trained. Importable without jax, so that a test can send
the same questions through a server.
"""

import dataclasses
import json
import random
from collections.abc import Callable, Sequence

from . import conversations as talks
from . import later
from .memories import MEMORIES
from .phrasing import PREFIXES, SUFFIXES, draw, fill, normalise, speak, wordings
from .render import Message, Tool, assistant_text
from .styles import STYLES, Style
from .tasks import HELD_FOLLOW_UPS, Task
from .tools import KINDS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Messages to send, and the answer that counts as right."""

    category: str
    messages: Sequence[Message]
    tools: Sequence[Tool] | None
    expected: str

    def passes(self, reply: str) -> bool:
        """Compare replies as text, or as values where the answer is JSON or tool calls."""
        return _value(reply) == _value(self.expected)


def _value(reply: str) -> object:
    bare = reply.replace("<|im_end|>", "").strip()
    try:
        if "<tool_call>" in bare:
            calls = bare.replace("</tool_call>", "").split("<tool_call>")
            return [calls[0].strip(), *(json.loads(call) for call in calls[1:])]
        return json.loads(bare) if bare.startswith("{") else bare
    except ValueError:
        return bare


def _held_question(rng: random.Random, task: Task) -> tuple[str, str]:
    fact = rng.choice(task.known)
    wording = draw(rng, rng.choice(task.held))
    return speak(rng, wording, fact.slots), fact.answer


def _single(task: Task) -> Callable[[random.Random], Case]:
    def case(rng: random.Random) -> Case:
        question, answer = _held_question(rng, task)
        messages = [*talks.maybe_system(rng, 0.25), talks.user(question)]
        return Case(category=task.name, messages=messages, tools=None, expected=answer)

    return case


def _styled(style: Style) -> Callable[[random.Random], Case]:
    def case(rng: random.Random) -> Case:
        messages, answer = talks.styled_question(
            rng, style, style.held, by_system=rng.random() < 0.5
        )
        name = f"style: {style.name}"
        return Case(category=name, messages=messages, tools=None, expected=answer)

    return case


def _memory(rng: random.Random) -> Case:
    about = rng.choice(tuple(MEMORIES))
    held = MEMORIES[about].held
    *messages, last = talks.memory_turns(rng, about, held, rng.choice((0, 1, 2)))
    expected = str(last["content"])
    return Case(category="memory", messages=messages, tools=None, expected=expected)


def _echo(rng: random.Random) -> Case:
    said = talks.echo_words(rng)
    messages = [talks.user(fill(rng.choice(talks.HELD_ECHOES), {"x": said}))]
    return Case(category="echo", messages=messages, tools=None, expected=said)


def _follow_up(rng: random.Random) -> Case:
    names = ("capitals", "colours", "opposites", "plurals")
    task = rng.choice([task for task in talks.all_tasks() if task.name in names])
    before, after = rng.choice(task.known), rng.choice(task.known)
    messages = [
        talks.user(talks.ask(rng, task, before)),
        talks.assistant(before.answer),
        talks.user(speak(rng, rng.choice(HELD_FOLLOW_UPS), {"follow": after.follow})),
    ]
    return Case(category="follow-up", messages=messages, tools=None, expected=after.answer)


def _tool_use(rng: random.Random, *, answered: bool) -> Case:
    kind = rng.choice(KINDS)
    tools = talks.pick_tools(rng, kind)
    named = next(tool for tool in tools if tool.kind is kind)
    wording = draw(rng, rng.choice(kind.held))
    turns = talks.tool_turns(rng, named, wording, answered=answered)
    *messages, last = [*talks.maybe_system(rng), *turns]
    return Case(
        category="tool result" if answered else "tool call",
        messages=messages,
        tools=[tool.definition for tool in tools],
        expected=assistant_text(last),
    )


def _tool_unfit(rng: random.Random) -> Case:
    names = ("capitals", "colours", "opposites", "plurals", "serving terms", "spelling")
    task = rng.choice([task for task in talks.all_tasks() if task.name in names])
    question, answer = _held_question(rng, task)
    tools = [tool.definition for tool in talks.pick_tools(rng, None)]
    messages = [*talks.maybe_system(rng), talks.user(question)]
    return Case(category="tools not needed", messages=messages, tools=tools, expected=answer)


def _makers() -> list[Callable[[random.Random], Case]]:
    return [
        *(_single(task) for task in talks.all_tasks()),
        *(_styled(style) for style in STYLES),
        _memory, _echo, _follow_up, _tool_unfit,
        lambda rng: _tool_use(rng, answered=False),
        lambda rng: _tool_use(rng, answered=True),
    ]  # fmt: skip


def held_out(seed: int, count: int) -> list[Case]:
    """Draw evaluation cases, the same number from each category (one more for the first ones)."""
    rng = random.Random(f"held out {seed}")
    makers = _makers()
    return [makers[place % len(makers)](rng) for place in range(count)]


def _stripped(text: str, ends: Sequence[str], *, front: bool) -> list[str]:
    """List a normalised wording as it is, and without each politeness it starts or ends with."""
    found = [text]
    for end in map(normalise, ends):
        if end and front and text.startswith(end + " "):
            found.append(text.removeprefix(end + " "))
        elif end and not front and text.endswith(" " + end):
            found.append(text.removesuffix(" " + end))
    return found


def _overlap(trained: Sequence[str], held: Sequence[str]) -> list[str]:
    known = {normalise(wording) for template in trained for wording in wordings(template)}
    return [
        wording
        for template in held
        for wording in wordings(template)
        for rest in _stripped(normalise(wording), PREFIXES, front=True)
        for core in _stripped(rest, SUFFIXES, front=False)
        if core in known
    ]


def trained_and_held() -> list[str]:
    """List held wordings that training could also produce; must be empty."""
    tasks, kinds = talks.all_tasks(), KINDS
    pairs: list[tuple[Sequence[str], Sequence[str]]] = [(t.trained, t.held) for t in tasks]
    pairs += [(kind.trained, kind.held) for kind in kinds]
    pairs += [(style.trained, style.held) for style in STYLES]
    pairs += [(memory.asked, memory.held) for memory in MEMORIES.values()]
    pairs += [(task.follow_ups, HELD_FOLLOW_UPS) for task in tasks]
    pairs.append((talks.ECHOES, talks.HELD_ECHOES))
    pairs += [(later.TASKS.get(task.name, ()), task.held) for task in tasks]
    pairs += [(later.TOOL_WISHES[kind.name], kind.held) for kind in kinds]
    pairs += [(later.STYLE_WISHES[style.name], style.held) for style in STYLES]
    pairs += [(later.MEMORY_QUESTIONS[about], MEMORIES[about].held) for about in MEMORIES]
    pairs.append((later.ECHOES, talks.HELD_ECHOES))
    return [wording for trained, held in pairs for wording in _overlap(trained, held)]
