"""No more run at once than may, arrivals keep their rate, and turns follow one another."""

from __future__ import annotations

import asyncio
import random
import statistics

import pytest

from jaxserve.bench.client import Answer, Question
from jaxserve.bench.drive import NOT_ASKED, Arrivals, converse, drive
from jaxserve.bench.workload import Turn


class Asked:
    """Answers "a1", "a2" ... after a few rounds of the event loop; fails the ones named."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.questions: list[Question] = []
        self.running = self.most = 0

    async def __call__(self, question: Question) -> Answer:
        self.questions.append(question)
        text = f"a{len(self.questions)}"
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(30):
            await asyncio.sleep(0)
        self.running -= 1
        error = "broken" if question.messages[-1]["content"] == self.fail else None
        return Answer(sent_s=0.0, text=text, error=error)


def run(ask: Asked, arrivals: Arrivals, count: int = 9) -> list[Answer]:
    work = [(Turn(f"q{i}", 1),) for i in range(count)]
    heard: list[Answer] = []
    answers = asyncio.run(
        drive(work, ask, arrivals=arrivals, source=random.Random(0), on_answer=heard.append)
    )
    assert len(heard) == len(answers) == count
    return answers


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (4, 4), (None, 9)])
def test_no_more_run_at_once_than_may(concurrency: int | None, most: int) -> None:
    ask = Asked()
    run(ask, Arrivals(rate=None, burstiness=1.0, concurrency=concurrency))
    assert ask.most == most


def test_arrivals_at_a_rate_are_all_asked() -> None:
    ask = Asked()
    run(ask, Arrivals(rate=1000.0, burstiness=1.0, concurrency=None))
    assert [q.messages[0]["content"] for q in ask.questions] == [f"q{i}" for i in range(9)]


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0])
def test_waits_have_the_mean_of_the_rate_and_the_spread_of_the_burstiness(
    burstiness: float,
) -> None:
    arrivals = Arrivals(rate=4.0, burstiness=burstiness, concurrency=None)
    source = random.Random(0)
    waits = [arrivals.wait_s(source) for _ in range(20_000)]
    assert statistics.mean(waits) == pytest.approx(1 / 4, rel=0.05)
    assert statistics.stdev(waits) == pytest.approx(1 / 4 / burstiness**0.5, rel=0.05)


def test_each_turn_is_asked_with_what_was_said_before() -> None:
    ask = Asked()
    asyncio.run(converse((Turn("q1", 1), Turn("q2", 2)), ask))
    last = ask.questions[-1]
    assert [(m["role"], m["content"]) for m in last.messages] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
    ]
    assert last.max_tokens == 2


def test_after_a_turn_that_failed_the_others_are_not_asked() -> None:
    ask = Asked(fail="q2")
    answers = asyncio.run(converse(tuple(Turn(f"q{i}", 1) for i in (1, 2, 3, 4)), ask))
    assert len(ask.questions) == 2
    assert [answer.error for answer in answers] == [None, "broken", NOT_ASKED, NOT_ASKED]
