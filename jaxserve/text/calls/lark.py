"""How is a grammar of calls written down? Rules of llguidance's Lark under names of their own."""

from __future__ import annotations

import json

from jaxserve.text.grammar_source import literal_lark, schema_lark
from jaxserve.text.tokenizer import Tokenizer


class Lark:
    """The rules so far. What its methods return stands in the body of other rules."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._names: dict[str, str] = {}  # by body

    def source(self, body: str, *, name: str = "start") -> str:
        """Everything so far, with `body` as the rule of that name."""
        return "\n".join([f"{name}: {body}", *self._rules]) + "\n"

    def rule(self, body: str) -> str:
        if body not in self._names:
            self._names[body] = f"rule_{len(self._rules)}"
            self._rules.append(f"{self._names[body]}: {body}")
        return self._names[body]

    def terminal(self, body: str) -> str:
        if body not in self._names:
            self._names[body] = f"TERMINAL_{len(self._rules)}"
            self._rules.append(f"{self._names[body]}: {body}")
        return self._names[body]

    def lazy(self, body: str) -> str:
        """A rule that ends as soon as the terminal `body` can."""
        key = f"[lazy] {body}"
        if key not in self._names:
            self._names[key] = f"lazy_{len(self._rules)}"
            self._rules.append(f"{self._names[key]}[lazy]: {body}")
        return self._names[key]

    def text(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False) if text else ""

    def literal(self, text: str) -> str:
        """Text with special tokens in it; a blank before a bracket that ends it may be missing."""
        if text.endswith(" ["):
            return f'{self.literal(text[:-2])} " "? "["'
        return literal_lark(text, self._tokenizer) if text else ""

    def json(self, schema: object) -> str:
        return self.rule(schema_lark(schema))

    def up_to(self, ending: str) -> str:
        """Any text up to and with `ending`, where it first occurs."""
        ids = self._tokenizer.encode(ending, add_special_tokens=False)
        if any(map(self._tokenizer.is_special, ids)):
            return self.rule(f"/(.|\\n)*/ {self.literal(ending)}")
        return self.lazy(self.terminal(f"/(.|\\n)*/ {self.text(ending)}"))

    @property
    def anything(self) -> str:
        return self.rule("/(.|\\n)*/")

    @property
    def blanks(self) -> str:
        return self.rule("/[ \\n]{0,2}/")
