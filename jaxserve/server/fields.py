"""What may a JSON value be: the strict scalar types and field groups that requests are made of.

An integral float is an integer and an integer is a float; booleans and numeric strings are
neither, and no number is NaN or infinite. Knows no route.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, Field(strict=True), BeforeValidator(_integral)]
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Bool = Annotated[bool, Field(strict=True)]
Str = Annotated[str, Field(strict=True)]
Object = Annotated[dict[str, Any], Field(strict=True)]

PositiveInt = Annotated[Int, Field(ge=1)]
Temperature = Annotated[Float, Field(ge=0, le=2)]
Probability = Annotated[Float, Field(ge=0, le=1)]
TopK = Annotated[Int, Field(ge=-1)]
Penalty = Annotated[Float, Field(ge=-2, le=2)]
RepetitionPenalty = Annotated[Float, Field(ge=1e-4, le=1e4)]  # what float32 logits survive
Seed = Annotated[Int, Field(ge=-(2**63), le=2**64 - 1)]


def wrong_type(expected: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_type", "must be {expected}", {"expected": expected})


def wrong_value(problem: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_value", "{problem}", {"problem": problem})


class WireModel(BaseModel):
    """A JSON object of a request: null means "not given", unknown fields are let through."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong_type("an object")
        return {key: item for key, item in value.items() if item is not None}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """As it is validated: every field that may be left out may be null."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        required = schema.get("required", [])
        for name, part in schema.get("properties", {}).items():
            if name not in required and {"type": "null"} not in part.get("anyOf", []):
                schema["properties"][name] = _or_null(part)
        return schema

    def check(self) -> None:
        """Raise InvalidRequest for fields that do not go together."""


def _or_null(part: dict[str, Any]) -> dict[str, Any]:
    about = ("default", "description", "title")
    kept = {key: value for key, value in part.items() if key in about}
    rest = {key: value for key, value in part.items() if key not in about}
    options = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {"anyOf": [*options, {"type": "null"}], **kept} if rest else part


def is_token_ids(value: object) -> bool:
    return isinstance(value, list) and all(type(_integral(item)) is int for item in value)


def integers(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values]
