"""When is what asked? So many at once, or as they arrive; a conversation's turns one by one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxserve.bench.client import Answer, Question
from jaxserve.bench.workload import Conversation

Ask = Callable[[Question], Awaitable[Answer]]
NOT_ASKED = "not asked: an earlier turn of its conversation failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """`rate` conversations a second, None for all at once, with at most `concurrency` running.

    `burstiness` is the shape of the gamma distribution that the time between them has: 1 is a
    Poisson process, less comes in bursts, more is more even.
    """

    rate: float | None
    burstiness: float
    concurrency: int | None

    def wait_s(self, source: random.Random) -> float:
        if self.rate is None:
            return 0.0
        return source.gammavariate(self.burstiness, 1.0 / (self.rate * self.burstiness))


async def drive(
    work: Sequence[Conversation],
    ask: Ask,
    *,
    arrivals: Arrivals,
    source: random.Random,
    on_answer: Callable[[Answer], None],
) -> list[Answer]:
    """Have every conversation; the answers of all turns, in the order of the conversations."""
    room = asyncio.Semaphore(arrivals.concurrency or len(work) or 1)
    due_s = time.perf_counter()

    async def have(conversation: Conversation) -> list[Answer]:
        try:
            return await converse(conversation, ask, on_answer)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        tasks = []
        for conversation in work:
            # Each is due some time after the one before it was due, not after it was sent.
            due_s += arrivals.wait_s(source)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            await room.acquire()
            tasks.append(group.create_task(have(conversation)))
    return [answer for task in tasks for answer in task.result()]


async def converse(
    conversation: Conversation, ask: Ask, on_answer: Callable[[Answer], None] = lambda _: None
) -> list[Answer]:
    """Ask the turns one after another, each with all that was said before it."""
    answers: list[Answer] = []
    said: list[Mapping[str, str]] = []
    for turn in conversation:
        said.append({"role": "user", "content": turn.text})
        if answers and answers[-1].error:
            now_s = time.perf_counter()
            answer = Answer(sent_s=now_s, ended_s=now_s, error=NOT_ASKED)
        else:
            answer = await ask(Question(messages=tuple(said), max_tokens=turn.max_tokens))
        said.append({"role": "assistant", "content": answer.text})
        answers.append(answer)
        on_answer(answer)
    return answers
