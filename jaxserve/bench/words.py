"""How does a text of so many tokens come about without the server's tokenizer?

The server is asked what a few words and many words cost; usage says it. From then on a text of N
tokens is as many random words as cost that much in the mean. What a prompt really had is told by
the usage of its own answer.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from jaxserve.bench.client import Answer, Question
from jaxserve.errors import EngineFailed

COMMON = tuple(
    "the of and to in is was that for it with as his on be at by this had not are but from or "
    "have an they which one you were her all she there would their we him been has when who "
    "will more no if out so said what up its about into than them can only other new some "
    "could time these two may then do first any my now such like our over man me even most "
    "made after also did many before must through back years where much your way well down "
    "should because each just those people how too little state good very make world still own "
    "see men work long get here between both life being under never day same another know "
    "while last might us great old year off come since against go came right used take three "
    "states himself few house use during without again place american around however home "
    "small found thought went say part once general high upon school every".split()
)
FEW, MANY = 32, 288


@dataclass(frozen=True, slots=True)
class Words:
    """Words to draw texts from, and what they cost in tokens."""

    words: Sequence[str]
    tokens_per_word: float
    tokens_around: float  # of a prompt without words: what a chat template adds

    def text(self, num_tokens: float, source: random.Random) -> str:
        """About so many tokens, at least a word."""
        return _draw(self.words, round(num_tokens / self.tokens_per_word), source)

    def prompt(self, num_tokens: int, source: random.Random) -> str:
        """A text that makes a prompt of about so many tokens when it is asked alone."""
        return self.text(num_tokens - self.tokens_around, source)

    def tokens_of(self, text: str) -> int:
        """About how many tokens a text of such words has."""
        return max(1, round(len(text.split()) * self.tokens_per_word))


async def calibrate(
    ask: Callable[[Question], Awaitable[Answer]], words: Sequence[str], source: random.Random
) -> Words:
    """Ask what words cost; raises EngineFailed with what the server said against it."""
    costs = []
    for count in (FEW, MANY):
        message = {"role": "user", "content": _draw(words, count, source)}
        answer = await ask(Question(messages=(message,), max_tokens=1))
        if answer.error is not None:
            raise EngineFailed(f"a first request of {count} words failed: {answer.error}")
        costs.append(answer.prompt_tokens)
    per_word = (costs[1] - costs[0]) / (MANY - FEW)
    if per_word <= 0:
        raise EngineFailed(
            f"usage says {costs[0]} tokens for {FEW} words and {costs[1]} for {MANY}: lengths "
            "cannot be told from that"
        )
    return Words(words, per_word, max(0.0, costs[0] - FEW * per_word))


def _draw(words: Sequence[str], count: int, source: random.Random) -> str:
    return " ".join(source.choices(words, k=max(1, count)))
