"""Which form does a request hold its output to? Every dialect's words for it, as one wish.

Knows shapes only: whether a schema or a grammar can be enforced is found out when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from jaxserve.server.fields import WireModel, wrong_type, wrong_value
from jaxserve.server.parsing import wrong
from jaxserve.text.grammar import ANY_OBJECT, GrammarWish, Kind

Wish = GrammarWish | None


@dataclass(frozen=True, slots=True)
class Form:
    """A wish, and the field that it came from."""

    param: str
    wish: GrammarWish


def _schema(value: Any) -> GrammarWish:
    """A JSON schema, as an object or as the JSON of one."""
    schema = _parsed(value) if isinstance(value, str) else value
    if not isinstance(schema, dict | bool):
        raise wrong_type("a JSON schema: an object")
    return GrammarWish("json_schema", _json(schema))


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        raise wrong_value("is a string that is not JSON") from None


def _named_schema(value: Any) -> GrammarWish:
    """A schema, or an object that has one beside its name."""
    named = isinstance(value, dict) and isinstance(value.get("schema"), dict) and "name" in value
    return _schema(value["schema"] if named else value)


def _openai_schema(value: Any) -> GrammarWish:
    if not isinstance(value, dict) or not isinstance(value.get("schema"), dict | bool):
        raise wrong_value("needs json_schema.schema, a JSON schema")
    return _schema(value["schema"])


def _choice(value: Any) -> GrammarWish:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type("a list of strings to choose from")
    if not value:
        raise wrong_value("must not be an empty list of choices")
    return GrammarWish("choice", _json(value))


def _text(kind: Kind) -> Callable[[Any], GrammarWish]:
    def read(value: Any) -> GrammarWish:
        if not isinstance(value, str):
            raise wrong_type(f"a string (the {kind})")
        if not value:
            raise wrong_value(f"must not be an empty {kind}")
        return GrammarWish(kind, value)

    return read


def _structural_tag(value: Any) -> GrammarWish:
    tag = _parsed(value) if isinstance(value, str) else value
    if not isinstance(tag, dict):
        raise wrong_type("a structural tag: an object or its JSON")
    return GrammarWish("structural_tag", _json(tag))


def _any_object(value: Any) -> Wish:
    if not isinstance(value, bool):
        raise wrong_type("true or false")
    return GrammarWish("json_schema", ANY_OBJECT) if value else None


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # orjson goes 254 deep
        raise wrong_value("is nested too deep") from None


_BY_KEY: dict[str, Callable[[Any], Wish]] = {
    "json": _schema,
    "regex": _text("regex"),
    "choice": _choice,
    "grammar": _text("grammar"),
    "json_object": _any_object,
    "structural_tag": _structural_tag,
}


def _response_format(value: Any) -> Wish:
    """OpenAI's response_format, and what clients of TGI and llama.cpp send in its place."""
    if not isinstance(value, dict):
        raise wrong_type("an object")
    kind, schema = value.get("type"), value.get("value", value.get("schema"))
    if kind == "text":
        return None
    if kind == "json_object":
        return GrammarWish("json_schema", ANY_OBJECT) if schema is None else _named_schema(schema)
    if kind == "json_schema" and schema is None:
        return _openai_schema(value.get("json_schema"))
    if kind == "structural_tag":
        return _structural_tag(value)
    if kind in ("json", "json_schema", "regex"):
        return _tgi_grammar(value)
    raise PydanticCustomError(
        "unsupported_value",
        "must have the type text, json_object, json_schema, json, regex or structural_tag",
    )


def _tgi_grammar(value: Any) -> Wish:
    """TGI's `grammar`: a type and its value."""
    if not isinstance(value, dict):
        raise wrong_type("an object with a type and a value")
    kind = value.get("type")
    if kind not in ("json", "json_object", "json_schema", "regex"):
        raise wrong_value("must have the type json, json_object, json_schema or regex")
    if value.get("value") is None:
        raise wrong_value(f"needs a value beside its type {kind}")
    if kind == "regex":
        return _text("regex")(value["value"])
    return _named_schema(value["value"])


def _grammar(value: Any) -> Wish:
    """`grammar` at the top of a body: llama.cpp's, a string, or TGI's, an object."""
    if value == "":
        return None
    return _text("grammar")(value) if isinstance(value, str) else _tgi_grammar(value)


def _structured_outputs(value: Any) -> Wish:
    """vLLM's: one key says what kind of form it is."""
    if not isinstance(value, dict):
        raise wrong_type("an object")
    given = {key: item for key, item in value.items() if item not in (None, False)}
    unknown = sorted(given.keys() - _BY_KEY.keys())
    if unknown:
        raise PydanticCustomError(
            "unsupported_value",
            "can not have {unknown}; it takes one of {known}",
            {"unknown": ", ".join(unknown), "known": ", ".join(_BY_KEY)},
        )
    if len(given) != 1:
        raise wrong_value(f"must have exactly one of {', '.join(_BY_KEY)}")
    return next(_BY_KEY[key](item) for key, item in given.items())


def _ollama_format(value: Any) -> Wish:
    """Ollama's `format`: "json" or a JSON schema."""
    if value in ("", "json"):
        return GrammarWish("json_schema", ANY_OBJECT) if value else None
    if not isinstance(value, dict):
        raise wrong_type("json or a JSON schema")
    return _schema(value)


def _unless_empty(read: Callable[[Any], Wish]) -> Callable[[Any], Wish]:
    return lambda value: None if value in ("", {}) else read(value)


Object = dict[str, Any]
TgiGrammar = Annotated[Any, BeforeValidator(_tgi_grammar, json_schema_input_type=Object)]
OllamaFormat = Annotated[Any, BeforeValidator(_ollama_format, json_schema_input_type=str | Object)]


class FormFields(WireModel):
    """The fields of the `/v1` routes that ask for a form; at most one of them may.

    Each is a GrammarWish once it is read, or None.
    """

    response_format: Annotated[
        Any, BeforeValidator(_response_format, json_schema_input_type=Object)
    ] = None
    structured_outputs: Annotated[
        Any, BeforeValidator(_structured_outputs, json_schema_input_type=Object)
    ] = None
    guided_json: Annotated[
        Any, BeforeValidator(_schema, json_schema_input_type=Object | bool | str)
    ] = None
    guided_regex: Annotated[Any, BeforeValidator(_text("regex"), json_schema_input_type=str)] = None
    guided_choice: Annotated[Any, BeforeValidator(_choice, json_schema_input_type=list[str])] = None
    guided_grammar: Annotated[
        Any, BeforeValidator(_text("grammar"), json_schema_input_type=str)
    ] = None
    grammar: Annotated[Any, BeforeValidator(_grammar, json_schema_input_type=str | Object)] = None
    json_schema: Annotated[
        Any, BeforeValidator(_unless_empty(_schema), json_schema_input_type=Object | bool | str)
    ] = None

    @property
    def form(self) -> Form | None:
        """The form that was asked for, if one was."""
        return next(iter(self._forms()), None)

    def check(self) -> None:
        forms = self._forms()
        if len(forms) > 1:
            named = " and ".join(form.param for form in forms)
            raise wrong(forms[1].param, f"must be left out: {named} ask for a form each")

    def _forms(self) -> list[Form]:
        wishes = ((name, getattr(self, name)) for name in FormFields.model_fields)
        return [Form(name, wish) for name, wish in wishes if wish is not None]
