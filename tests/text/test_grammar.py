"""Whatever is drawn under a grammar's masks has the form that was wished for."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import jaxserve.shipped
from jaxserve.engine.constraint import ConstraintFailed
from jaxserve.engine.request import EngineLimits
from jaxserve.errors import InvalidRequest
from jaxserve.text.grammar import ANY_OBJECT, Grammar, GrammarWish, Kind
from jaxserve.text.grammar_compiler import GrammarCompiler
from jaxserve.text.grammar_source import free_text_lark
from jaxserve.text.tokenizer import Tokenizer, load_tokenizer
from tests.text.schemas import REFUSED, SCHEMAS
from tests.text_fakes import BOS, ByteTokenizer, limits

TINY_CHAT = Path(jaxserve.shipped.__file__).parent / "tiny-chat"
MAX_TOKENS = 1500

Compile = Callable[..., Grammar]


class Bench:
    """A compiler, and outputs drawn at random under the grammars it makes."""

    def __init__(self, tokenizer: Tokenizer, engine_limits: EngineLimits) -> None:
        self.tokenizer = tokenizer
        self.limits = engine_limits
        self.compiler = GrammarCompiler(tokenizer, engine_limits)

    def compile(self, kind: Kind, source: str, *, preface: str = "") -> Grammar:
        wish = GrammarWish(kind, source, preface)
        return asyncio.run(self.compiler.compile(wish, param="response_format"))

    def allowed(self, constraint: Any) -> list[int]:
        mask = np.frombuffer(constraint.next_mask(), np.uint8)
        return [int(i) for i in np.flatnonzero(np.unpackbits(mask, bitorder="little"))]

    def draw(self, grammar: Grammar, seed: int) -> str | None:
        """The text of random tokens that are allowed; None if it does not end soon."""
        rng, constraint, text = random.Random(seed), grammar.start(), b""
        for _ in range(MAX_TOKENS):
            ids = self.allowed(constraint)
            assert max(ids) < self.limits.vocab_size
            token_id = self._choose(ids, rng)
            constraint.advance(token_id)
            if token_id in self.limits.eos_token_ids:
                assert constraint.complete
                return text.decode()
            assert not self.tokenizer.is_special(token_id)
            text += self.tokenizer.token_bytes(token_id)
            if constraint.complete:
                return text.decode()
        return None

    def takes(self, grammar: Grammar, text: str) -> bool:
        """Whether the text, and then the end, is allowed."""
        constraint = grammar.start()
        for token_id in self.tokenizer.encode(text, add_special_tokens=False):
            if constraint.complete or token_id not in self.allowed(constraint):
                return False
            constraint.advance(token_id)
        return constraint.complete or self.limits.eos_token_ids <= {*self.allowed(constraint)}

    def _choose(self, ids: list[int], rng: random.Random) -> int:
        """Often one that brings the end nearer, or strings and lists would hardly ever end."""
        closing = [i for i in ids if self._closes(i)]
        return rng.choice(closing if closing and rng.random() < 0.3 else ids)

    def _closes(self, token_id: int) -> bool:
        token = self.tokenizer.token_bytes(token_id)
        return token_id in self.limits.eos_token_ids or token in (b'"', b"}", b"]", b"1", b"e")


@pytest.fixture(scope="module", params=["bytes", "tiny-chat"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "bytes":
        made = Bench(ByteTokenizer(), limits())
    else:
        tokenizer = load_tokenizer(TINY_CHAT)
        sizes = limits(vocab_size=tokenizer.vocab_size, eos_token_ids=tokenizer.eos_ids)
        made = Bench(tokenizer, sizes)
    yield made
    made.compiler.close()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_output_satisfies_its_schema(bench: Bench, name: str) -> None:
    schema = SCHEMAS[name]
    grammar = bench.compile("json_schema", json.dumps(schema))
    validator = jsonschema.validators.validator_for(schema)(schema)
    texts = [text for seed in range(6) if (text := bench.draw(grammar, seed)) is not None]
    assert texts, "no output came to its end"
    for text in texts:
        validator.validate(json.loads(text))


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_can_not_be_enforced_is_refused(bench: Bench, name: str) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(InvalidRequest, match="response_format can not be compiled") as refused:
        bench.compile("json_schema", json.dumps(schema))
    assert reason in str(refused.value)
    assert (refused.value.param, refused.value.code) == ("response_format", "invalid_schema")


def test_blanks_are_bounded_and_layout_is_free(bench: Bench) -> None:
    grammar = bench.compile("json_schema", json.dumps(SCHEMAS["bounded integer"]))
    for text in ('{"rating":3}', '{"rating": 3}', '{\n  "rating": 3\n}'):
        assert bench.takes(grammar, text)
    for text in ('{"rating":  3}', '{"rating": 3}\n', ' {"rating": 3}', "{" + "\n" * 3 + "}"):
        assert not bench.takes(grammar, text)


def test_any_object_is_an_object(bench: Bench) -> None:
    grammar = bench.compile("json_schema", ANY_OBJECT)
    assert bench.takes(grammar, '{"a": [1, {"b": null}]}')
    assert not bench.takes(grammar, "[1]")


@pytest.mark.parametrize(
    "regex",
    [
        "[0-9]{3}-[0-9]{4}",
        "(yes|no)!?",
        r"\d{1,3}/\d{2}",
        "^ab?c$",
        r"[^\x00-\x1f\"]{2,9}é",
        "a\nb",
    ],
)
def test_every_output_matches_its_regex_whole(bench: Bench, regex: str) -> None:
    grammar = bench.compile("regex", regex)
    for seed in range(5):
        text = bench.draw(grammar, seed)
        assert text is not None
        assert re.fullmatch(regex, text, re.ASCII)


def test_every_output_is_one_of_the_choices(bench: Bench) -> None:
    choices = ["yes", "yes, but", 'q"uote\\', "日本", "line\nbreak", "/slash/"]
    grammar = bench.compile("choice", json.dumps(choices))
    assert {bench.draw(grammar, seed) for seed in range(60)} == {*choices}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("grammar", 'root ::= "SELECT " name (", " name)* "."\nname ::= [a-z]{1,5}'),
        ("grammar", 'start: "SELECT " NAME (", " NAME)* "."\nNAME: /[a-z]{1,5}/'),
        ("lark", 'start: "SELECT " NAME (", " NAME)* "."\nNAME: /[a-z]{1,5}/'),
    ],
)
def test_every_output_is_of_its_grammar(bench: Bench, kind: Kind, source: str) -> None:
    grammar = bench.compile(kind, source)
    for seed in range(5):
        text = bench.draw(grammar, seed)
        assert text is None or re.fullmatch(r"SELECT [a-z]{1,5}(, [a-z]{1,5})*\.", text)
    assert bench.takes(grammar, "SELECT ab, c.")


def test_a_structural_tag_holds_what_follows_its_trigger(bench: Bench) -> None:
    tag = {
        "structures": [{"begin": "<f=a>", "schema": SCHEMAS["bounded integer"], "end": "</f>"}],
        "triggers": ["<f="],
    }
    grammar = bench.compile("structural_tag", json.dumps(tag))
    for text in ("plain text, {}", 'so <f=a>{"rating": 3}</f> it is', '<f=a>{"rating":1}</f>' * 2):
        assert bench.takes(grammar, text)
    for text in ("so <f=a> it is", "<f=b>", '<f=a>{"rating": 9}</f>', '<f=a>{"rating":1}'):
        assert not bench.takes(grammar, text)


@pytest.mark.parametrize("mark", ["</think>", "<|end|>", "<|im_start|>"])
def test_a_form_begins_after_its_preface_whose_mark_is_special_or_not(
    bench: Bench, mark: str
) -> None:
    preface = "preface: thought\n" + free_text_lark("thought", [mark, "!!"], bench.tokenizer)
    grammar = bench.compile("choice", '["yes", "no"]', preface=preface)
    for text in (f"hm, yes</think{mark}yes", f"{mark}no", "no!!yes"):
        assert bench.takes(grammar, text)
    for text in ("yes", f"{mark}maybe", f"{mark}yes{mark}", "!! yes"):
        assert not bench.takes(grammar, text)


@pytest.mark.parametrize(
    ("kind", "source", "reason"),
    [
        ("regex", "(", "unclosed group"),
        ("regex", "(?=a)b", "look-ahead"),
        ("regex", r"(a)\1", "backreferences"),
        ("regex", "a" * 300_000, "200000"),
        ("regex", "(" * 60_000 + ")" * 60_000, ""),
        ("grammar", 'root ::= "a', "end of input"),
        ("grammar", "root ::= gone", "gone"),
        ("lark", "start: gone", "gone"),
        ("lark", "start: " + "(" * 9_000 + '"a"' + ")" * 9_000, "nested"),
        ("structural_tag", '{"format": {"type": "const"}}', "structures"),
        ("structural_tag", '{"structures": [], "triggers": ["<"]}', "empty"),
        ("structural_tag", '{"structures": [{"begin": "<", "end": ""}], "triggers": ["("]}', "<"),
        ("structural_tag", '{"structures": [{"begin": "<"}], "triggers": ["<"]}', "begin and end"),
        ("structural_tag", '{"structures": [{"begin": "<a>"}], "triggers": [""]}', "triggers"),
        ("json_schema", json.dumps({"enum": ["x" * 100 + str(i) for i in range(2000)]}), "200000"),
    ],
)  # fmt: skip
def test_what_does_not_compile_is_refused_with_the_reason(
    bench: Bench, kind: Kind, source: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        bench.compile(kind, source)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_deep_schema_is_refused_by_its_depth(bench: Bench) -> None:
    schema: Any = {"type": "string"}
    for _ in range(80):
        schema = record_of(schema)
    with pytest.raises(InvalidRequest, match="nested more than 64 deep"):
        bench.compile("json_schema", json.dumps(schema))


def record_of(inner: Any) -> Any:
    return {"type": "object", "properties": {"a": inner}}


def test_what_overflows_the_stack_kills_nobody(bench: Bench) -> None:
    chain = "\n".join(f't{i}: t{i + 1} "a"' for i in range(10_000))
    with pytest.raises(InvalidRequest, match="smaller or less nested"):
        bench.compile("lark", f'start: t0\n{chain}\nt10000: "a"')
    assert bench.takes(bench.compile("regex", "it goes on"), "it goes on")


def test_equal_wishes_share_a_grammar(bench: Bench) -> None:
    async def twice() -> list[Grammar]:
        wish = GrammarWish("regex", "once[0-9]")
        compile_wish = bench.compiler.compile
        both = await asyncio.gather(*(compile_wish(wish, param="p") for _ in range(2)))
        return [*both, await compile_wish(wish, param="p")]

    first, second, third = asyncio.run(twice())
    assert first is second is third


def test_sequences_of_one_grammar_go_their_own_ways(bench: Bench) -> None:
    grammar = bench.compile("choice", '["ab", "cd"]')
    left, right = grammar.start(), grammar.start()
    left.advance(bench.tokenizer.encode("a", add_special_tokens=False)[0])
    assert bench.allowed(right) != bench.allowed(left)
    assert bench.takes(grammar, "cd")


def test_a_token_that_is_not_allowed_fails_its_sequence(bench: Bench) -> None:
    constraint = bench.compile("regex", "[0-9]+x").start()
    with pytest.raises(ConstraintFailed, match="can not be followed"):
        constraint.advance(bench.tokenizer.encode("z", add_special_tokens=False)[0])
    with pytest.raises(ConstraintFailed):
        constraint.next_mask()


def test_a_model_without_an_end_of_sequence_is_not_constrained() -> None:
    compiler = GrammarCompiler(ByteTokenizer(), limits(eos_token_ids=frozenset()))
    with pytest.raises(InvalidRequest, match="no end of sequence"):
        asyncio.run(compiler.compile(GrammarWish("regex", "a"), param="p"))
    compiler.close()


def test_special_tokens_are_never_text(bench: Bench) -> None:
    constraint = bench.compile("regex", "(.|\n)*").start()
    allowed = {*bench.allowed(constraint)}
    assert bench.limits.eos_token_ids <= allowed
    specials = {i for i in range(bench.limits.vocab_size) if bench.tokenizer.is_special(i)}
    assert not (specials - bench.limits.eos_token_ids) & allowed
    if isinstance(bench.tokenizer, ByteTokenizer):
        assert BOS in specials


def test_text_without_alternatives_gets_the_tokens_that_the_tokenizer_gives_it(
    bench: Bench,
) -> None:
    text = "the only thing it may say"
    constraint = bench.compile("choice", json.dumps([text])).start()
    ids = bench.tokenizer.encode(text, add_special_tokens=False)
    for token_id in ids:
        assert bench.allowed(constraint) == [token_id]
        constraint.advance(token_id)
    assert constraint.complete


def test_a_special_token_spelled_in_a_text_stays_text(bench: Bench) -> None:
    end = "<|end|>" if isinstance(bench.tokenizer, ByteTokenizer) else "<|im_end|>"
    grammar = bench.compile("choice", json.dumps([f"a{end}b"]))
    assert bench.draw(grammar, 0) == f"a{end}b"
