"""What may an answer be that has to call tools, or whose calls have to be right?

Raises GrammarRefused for what can not be held to.
"""

from __future__ import annotations

import re
from dataclasses import replace

from jaxserve.text.calls.call_reader import Schemas
from jaxserve.text.calls.channels import CHANNEL, END, MESSAGE, START
from jaxserve.text.calls.description import ToolFormat
from jaxserve.text.calls.grammar import CallGrammar
from jaxserve.text.calls.lark import Lark
from jaxserve.text.grammar import GrammarWish
from jaxserve.text.tokenizer import Tokenizer


class AnswerGrammars:
    """Grammars in llguidance's Lark. What comes before the answer is theirs only with channels."""

    def __init__(self, tools: ToolFormat, tokenizer: Tokenizer) -> None:
        self._tools = tools
        self._tokenizer = tokenizer

    def forced(self, schemas: Schemas, *, many: bool) -> str:
        """Calls and nothing else: one, or with `many` at least one."""
        lark = Lark(self._tokenizer)
        return lark.source(f"{self._before(lark)} {self._calls(lark, schemas, many=many)}")

    def beside(
        self, schemas: Schemas, wish: GrammarWish, *, preface: str, many: bool
    ) -> GrammarWish:
        """The wish for a JSON answer, or else calls; `preface` may come before either.

        Where nothing marks a call it is an object like any other, until its keys tell.
        """
        form, lark = self._tools, Lark(self._tokenizer)
        calls = self._calls(lark, schemas, many=many, whole=form.at_start == ("",))
        if not form.channels:
            instead = lark.source(f"{lark.blanks} {calls}")
            return replace(wish, preface=preface, instead=instead)
        before = Lark(self._tokenizer)
        return replace(
            wish,
            preface=before.source(self._before(before), name="preface"),
            instead=lark.source(calls),
            lead=lark.literal(f"{CHANNEL}final{MESSAGE}"),
        )

    def offered(self, schemas: Schemas, *, many: bool) -> str:
        """Any text, in which what begins as a call is one of these; one run, or `many`."""
        lark, form = Lark(self._tokenizer), self._tools
        if form.channels:
            said = f"{lark.literal(f'{CHANNEL}final{MESSAGE}')} {lark.anything}"
            body = f"({said} | {self._calls(lark, schemas, many=many)})"
        elif form.at_start:
            first = re.escape((form.at_start[0] or "{")[0])
            said = f"/[ \\n]*[^ \\n\\r\\t{first}](.|\\n)*/"
            body = f"({said} | {self._calls(lark, schemas, many=many)})?"
        else:
            body = self._text_with_calls(lark, schemas, many=many)
        before = self._before(lark) if form.channels else ""
        return lark.source(f"{before} {body}")

    def _calls(self, lark: Lark, schemas: Schemas, *, many: bool, whole: bool = False) -> str:
        form = self._tools
        begin = form.at_start[0] if form.at_start else form.begins[0]
        calls = CallGrammar(lark, form, schemas, whole=whole)
        run = f"{lark.literal(begin)} {calls.run(many=many)}"
        if many and not form.many_per_run and not form.channels:
            return f"{run} ({lark.blanks} {run})*"
        return run

    def _text_with_calls(self, lark: Lark, schemas: Schemas, *, many: bool) -> str:
        form = self._tools
        run = CallGrammar(lark, form, schemas).run(many=many)
        options = []
        for begin in form.begins:
            trigger, rest = _trigger(begin)
            options.append(f"{lark.up_to(trigger)} {lark.literal(rest)} {run}")
        return f"({' | '.join(options)}){'*' if many else '?'} {lark.anything}"

    def _before(self, lark: Lark) -> str:
        """Blanks, or the messages that a model may write before the one that counts."""
        if not self._tools.channels:
            return lark.blanks
        channel = f'{lark.literal(CHANNEL)} ("analysis" | "commentary") {lark.literal(MESSAGE)}'
        return f"({channel} {lark.up_to(END)} {lark.literal(f'{START}assistant')})*"


def _trigger(begin: str) -> tuple[str, str]:
    """What shows that calls begin, and what then has to follow."""
    first = begin.split()[0]
    return first, begin.removeprefix(first)
