"""What do the deltas of a sequence tell, read by the model's formats?

Also the one place that knows which special tokens must show in the text for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxserve.text.calls.answer import AnswerParser, PlainParser, answer_parser
from jaxserve.text.calls.call_reader import Schemas
from jaxserve.text.calls.description import ReasoningFormat, ToolFormat
from jaxserve.text.calls.events import CallArguments, CallName, Content, Event, joined
from jaxserve.text.calls.preface import reasoning_preface
from jaxserve.text.delta import TextDelta
from jaxserve.text.tokenizer import Tokenizer

MAX_PROMPT_TAIL = 64  # tokens that are looked at to see whether reasoning is open


class AnswerFormats:
    """What a model writes, with what its tokenizer has to do with it."""

    def __init__(
        self, tools: ToolFormat | None, reasoning: ReasoningFormat | None, tokenizer: Tokenizer
    ) -> None:
        self.tools = tools
        self.reasoning = reasoning
        self._tokenizer = tokenizer
        self._tool_ids = _special_ids(tokenizer, tools)
        self._reasoning_ids = _special_ids(tokenizer, reasoning)

    def shown_ids(self, *, calls: bool) -> frozenset[int]:
        """The special tokens that must show in a text for it to be read."""
        return self._reasoning_ids | self._tool_ids if calls else self._reasoning_ids

    def reader(
        self,
        prompt_ids: Sequence[int],
        schemas: Schemas | None,
        *,
        parallel: bool = True,
        whole: bool = False,
    ) -> AnswerReader:
        """What reads one continuation of the prompt; without `parallel` its first call only."""
        parser = answer_parser(
            self.tools,
            self.reasoning,
            prompt=self._end_of(prompt_ids),
            schemas=schemas,
            whole=whole,
        )
        return AnswerReader(parser, parallel=parallel)

    def preface(self, prompt_ids: Sequence[int]) -> str:
        """What an answer that is held to a form may have before it (`GrammarWish.preface`)."""
        if self.reasoning is None:
            return ""
        return reasoning_preface(self.reasoning, self._end_of(prompt_ids), self._tokenizer)

    def _end_of(self, prompt_ids: Sequence[int]) -> str:
        tail = b"".join(map(self._tokenizer.token_bytes, prompt_ids[-MAX_PROMPT_TAIL:]))
        return tail.decode(errors="replace")


def plain_reader() -> AnswerReader:
    """What takes all text for content."""
    return AnswerReader(PlainParser(None, None), parallel=True)


class AnswerReader:
    """Deltas of text in, events out; counts the tokens that were reasoning, its end included."""

    def __init__(self, parser: AnswerParser, *, parallel: bool) -> None:
        self.num_reasoning_tokens = 0
        self._parser = parser
        self._parallel = parallel

    @property
    def num_complete(self) -> int:
        """How many calls have ended as they should."""
        return self._parser.num_complete

    def read(self, delta: TextDelta) -> list[Event]:
        if self._parser.takes_all:
            return [Content(delta.text)] if delta.text else []
        events: list[Event] = []
        start = 0
        for end in delta.token_ends:
            was_inside = self._parser.inside_reasoning
            events += self._parser.push(delta.text[start:end])
            self.num_reasoning_tokens += was_inside or self._parser.inside_reasoning
            start = end
        events += self._parser.push(delta.text[start:])
        if delta.finish_reason is not None:
            events += self._parser.finish()
        return joined(event for event in events if self._is_told(event))

    def _is_told(self, event: Event) -> bool:
        if isinstance(event, CallName | CallArguments):
            return self._parallel or event.index == 0
        return True


def _special_ids(tokenizer: Tokenizer, form: ToolFormat | ReasoningFormat | None) -> frozenset[int]:
    texts = form.literals if form is not None else ()
    ids = (i for text in texts for i in tokenizer.encode(text, add_special_tokens=False))
    return frozenset(filter(tokenizer.is_special, ids))
