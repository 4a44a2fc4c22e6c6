"""How is a wished form written as a grammar that llguidance reads? Strings in, strings out.

Knows which tokens are special, since those are named in a grammar by id and are never text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import regex_to_lark

from jaxserve.text.grammar import GrammarWish
from jaxserve.text.json_schema import GrammarRefused, enforceable
from jaxserve.text.tokenizer import Tokenizer

MAX_SOURCE_CHARS = 200_000

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaggedPart:
    """Text that follows a form from `begin`, which starts with the trigger, to `end`."""

    trigger: str
    begin: str
    schema: object
    end: str


def grammar_source(
    wish: GrammarWish, tokenizer: Tokenizer, *, to_lark: Callable[[str], str]
) -> str:
    """What llguidance compiles for `wish`; `to_lark` converts GBNF and EBNF.

    Raises GrammarRefused, and what `to_lark` raises.
    """
    if len(wish.source) > MAX_SOURCE_CHARS:
        raise GrammarRefused(
            f"it has {len(wish.source)} characters; at most {MAX_SOURCE_CHARS} can be compiled"
        )
    body = _part(wish, tokenizer, to_lark)
    if not (wish.preface or wish.instead):
        return json.dumps({"grammars": [body]})
    form = f"{wish.lead} @body"
    start = ("preface " if wish.preface else "") + (
        f"({form} | @instead)" if wish.instead else form
    )
    grammars: list[Part] = [
        {"name": "opening", "lark_grammar": f"start: {start}\n{wish.preface}"},
        {**body, "name": "body"},
    ]
    if wish.instead:
        grammars.append({"name": "instead", "lark_grammar": wish.instead})
    return json.dumps({"grammars": grammars})


def schema_lark(schema: object) -> str:
    """A JSON schema as it stands in a rule of a Lark grammar. Raises GrammarRefused."""
    return "%json " + json.dumps(enforceable(schema))


def literal_lark(text: str, tokenizer: Tokenizer) -> str:
    """Text as it stands in a rule of a Lark grammar: its special tokens by id, the rest quoted."""
    parts, rest = list[str](), text
    for token_id in tokenizer.encode(text, add_special_tokens=False):
        if tokenizer.is_special(token_id):
            before, _, rest = rest.partition(tokenizer.token_bytes(token_id).decode())
            parts += [json.dumps(before), f"<[{token_id}]>"]
    return " ".join(part for part in (*parts, json.dumps(rest)) if part != '""')


def free_text_lark(rule: str, endings: Sequence[str], tokenizer: Tokenizer) -> str:
    """Rules of a Lark grammar, `rule` for any text up to and with the first of `endings`."""
    names = [f"{rule}_{index}" for index in range(len(endings))]
    rules = map(_free_text, names, endings, [tokenizer] * len(names))
    return f"{rule}: {' | '.join(names)}\n" + "".join(rules)


def _free_text(rule: str, ending: str, tokenizer: Tokenizer) -> str:
    ids = tokenizer.encode(ending, add_special_tokens=False)
    if any(map(tokenizer.is_special, ids)):
        return f"{rule}: /(.|\\n)*/ {literal_lark(ending, tokenizer)}\n"
    return f"{rule}[lazy]: /(.|\\n)*{_escaped(ending)}/\n"


def tagged_lark(parts: Sequence[TaggedPart], tokenizer: Tokenizer) -> str:
    """Free text in which every trigger begins one of its parts. Raises GrammarRefused."""
    rules = ["start: (" + " | ".join(f"tag_{i}" for i in range(len(parts))) + ")* /(.|\\n)*/\n"]
    for index, part in enumerate(parts):
        rest = literal_lark(part.begin.removeprefix(part.trigger), tokenizer)
        end = literal_lark(part.end, tokenizer)
        rules += [
            f"tag_{index}: free_{index} {rest} {schema_lark(part.schema)} {end}\n",
            free_text_lark(f"free_{index}", [part.trigger], tokenizer),
        ]
    return "".join(rules)


def _part(wish: GrammarWish, tokenizer: Tokenizer, to_lark: Callable[[str], str]) -> Part:
    if wish.kind == "json_schema":
        return {"json_schema": enforceable(json.loads(wish.source))}
    if wish.kind == "regex":
        return {"lark_grammar": f"start: /{regex_to_lark(wish.source, 'd')}/"}
    if wish.kind == "choice":
        choices = json.loads(wish.source)
        return {"lark_grammar": "start: " + " | ".join(map(json.dumps, choices))}
    if wish.kind == "structural_tag":
        return {"lark_grammar": tagged_lark(_tagged_parts(json.loads(wish.source)), tokenizer)}
    is_bnf = wish.kind == "grammar" and "::=" in wish.source
    return {"lark_grammar": to_lark(wish.source) if is_bnf else wish.source}


def _tagged_parts(tag: Any) -> list[TaggedPart]:
    """The parts of `{structures: [{begin, schema, end}], triggers: [...]}`."""
    if not isinstance(tag, dict) or not isinstance(tag.get("structures"), list):
        raise GrammarRefused(
            "a structural tag is {structures: [{begin, schema, end}], triggers: [...]}; no other "
            "form of it can be compiled"
        )
    triggers = tag.get("triggers")
    if not isinstance(triggers, list) or not all(isinstance(t, str) and t for t in triggers):
        raise GrammarRefused("triggers must be a list of strings that are not empty")
    if not tag["structures"]:
        raise GrammarRefused("structures must not be empty")
    return [_tagged_part(item, triggers) for item in tag["structures"]]


def _tagged_part(item: Any, triggers: list[str]) -> TaggedPart:
    begin, end = (item.get("begin"), item.get("end")) if isinstance(item, dict) else (None, None)
    if not isinstance(begin, str) or not isinstance(end, str):
        raise GrammarRefused("each of structures needs begin and end, which are strings")
    for trigger in triggers:
        if begin.startswith(trigger):
            return TaggedPart(trigger, begin, item.get("schema", {}), end)
    raise GrammarRefused(f"no trigger is the beginning of {begin!r}")


def _escaped(literal: str) -> str:
    return re.escape(literal).replace("/", "\\/").replace("\n", "\\n").replace('"', '\\"')
