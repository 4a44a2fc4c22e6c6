"""Grammars are tried in a process that may die of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.text.grammar import GrammarConstraint
from jaxserve.text.grammar_trial import GrammarTrial, TrialFailed, Vocabulary

BYTES = Vocabulary([bytes([i]) for i in range(256)] + [b"</s>"], [256], [256])
SLOW = "start: /" + "[a-z]" * 1_000_000 + "/"


@pytest.fixture
def trial() -> Iterator[GrammarTrial]:
    made = GrammarTrial(BYTES)
    yield made
    made.close()


def test_what_compiles_passes_and_what_does_not_says_why(trial: GrammarTrial) -> None:
    trial.compile('start: "a"')
    with pytest.raises(TrialFailed, match="gone"):
        trial.compile("start: gone")
    with pytest.raises(TrialFailed, match="no text at all"):
        trial.compile('{"grammars": [{"json_schema": {"$ref": "#"}}]}')
    trial.compile('start: "b"')


def test_bnf_becomes_lark(trial: GrammarTrial) -> None:
    assert trial.to_lark('root ::= "a"').strip().endswith('start: "a"')
    with pytest.raises(TrialFailed, match="Expected ::="):
        trial.to_lark("root = 5")


def test_one_that_takes_too_long_is_given_up_and_the_next_is_tried() -> None:
    trial = GrammarTrial(BYTES, trial_s=0.5)
    try:
        with pytest.raises(TrialFailed, match=r"more than 0\.5 s"):
            trial.compile(SLOW)
        trial.compile('start: "a"')
    finally:
        trial.close()


def test_text_is_cut_into_the_longest_tokens_where_nobody_knows_better() -> None:
    vocabulary = Vocabulary([b"a", b"ab", b"c", b"<x>"], [3], [3])
    assert vocabulary.tokenizer().tokenize_bytes(b"aabc") == [0, 1, 2]
    assert vocabulary.tokenizer(lambda text: [0] * len(text)).tokenize_bytes(b"aa") == [0, 0]
    # An encoding that says something else than the text is not believed.
    assert vocabulary.tokenizer(lambda text: [2]).tokenize_bytes(b"ab") == [1]


def test_a_panic_fails_the_sequence_only() -> None:
    class Panic(BaseException):
        pass

    class Panicking:
        def compute_bitmask(self) -> bytes:
            raise Panic("index out of bounds")

        def consume_token(self, token_id: int) -> bool:
            raise Panic("index out of bounds")

    constraint = GrammarConstraint(Panicking(), b"\x01")  # type: ignore[arg-type]
    for ask in (lambda: constraint.advance(0), constraint.next_mask):
        with pytest.raises(ConstraintFailed, match="index out of bounds"):
            ask()
