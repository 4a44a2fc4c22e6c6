"""What form must an output have, and which tokens does that leave? A wish, and what it compiles to.

Grammars are llguidance's: it works on the true bytes of this model's own tokens. Special tokens
are never part of text, so a grammar lets none through but an end of sequence where it may end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from llguidance import LLMatcher

from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.text.grammar_trial import error_of

Kind = Literal["json_schema", "regex", "choice", "grammar", "lark", "structural_tag"]

ANY_OBJECT = '{"type": "object"}'

_ENDED_WELL = ("NoExtension", "NoExtensionBias", "EndOfSentence")


@dataclass(frozen=True, slots=True)
class GrammarWish:
    """A form that was asked for; equal wishes compile to one grammar.

    `source` is the JSON of a schema, a list of strings (choice) or a structural tag, or else a
    regular expression (of the whole output; Rust's syntax, no look-around or back-references), a
    grammar in GBNF, vLLM's EBNF or Lark (told apart by `::=`), or llguidance's Lark. `preface` are
    rules of such a Lark grammar, of which `preface` is what comes before the form; `instead` is a
    grammar of what may be there in place of it, which must begin with other characters unless
    both are JSON. `lead` is what stands before the form itself, as part of a rule.
    """

    kind: Kind
    source: str
    preface: str = ""
    instead: str = ""
    lead: str = ""


class Grammar:
    """A compiled grammar; `start` gives each sequence a constraint of its own."""

    def __init__(self, matcher: LLMatcher, *, mask_bytes: int):
        """`matcher` has taken no token in. `mask_bytes` is how long a mask of the vocabulary is."""
        self._matcher = matcher
        self._mask_bytes = mask_bytes
        self._first_mask = matcher.compute_bitmask()[:mask_bytes]

    def start(self) -> GrammarConstraint:
        return GrammarConstraint(self._matcher.deep_copy(), self._first_mask)


class GrammarConstraint:
    """The engine's `Constraint` for one sequence."""

    def __init__(self, matcher: LLMatcher, first_mask: bytes):
        self._matcher = matcher
        self._first_mask: bytes | None = first_mask
        self._mask_bytes = len(first_mask)

    @property
    def complete(self) -> bool:
        stopped: bool = self._matcher.is_stopped()
        return stopped

    def advance(self, token_id: int) -> None:
        self._first_mask = None
        with self._failing():
            self._matcher.consume_token(token_id)

    def next_mask(self) -> bytes:
        if self._first_mask is not None:
            return self._first_mask
        with self._failing():
            mask: bytes = self._matcher.compute_bitmask()[: self._mask_bytes]
        return mask

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what goes wrong in the matcher into ConstraintFailed."""
        try:
            yield
            problem = matcher_problem(self._matcher)
        except BaseException as error:  # a panic of Rust code is no Exception
            problem = str(error)
        if problem:
            raise ConstraintFailed(f"the grammar can not be followed any further: {problem}")


def matcher_problem(matcher: LLMatcher) -> str:
    """Why the matcher has stopped although the output is not complete, or nothing."""
    if matcher.is_error():
        return error_of(matcher)
    if matcher.is_stopped() and matcher.stop_reason() not in _ENDED_WELL:
        return str(matcher.stop_reason())
    return ""
