"""instructor: Pydantic models out of tools, strict tools, schemas and the Responses API."""

from __future__ import annotations

from typing import Any, Literal

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel, ConfigDict, Field

pytestmark = pytest.mark.client("instructor", "instructor")

RATE = [{"role": "user", "content": "Rate the sky."}]
Mode = instructor.Mode


class Rating(BaseModel):
    """A rating of a thing."""

    model_config = ConfigDict(extra="forbid")

    mood: Literal["good", "bad"]
    rating: int = Field(ge=1, le=5)


def client(url: str, mode: Any) -> Any:
    made = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    return instructor.from_openai(made, mode=mode)


MODES = [Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA, Mode.RESPONSES_TOOLS]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.name).lower())
def test_a_model_out_of_an_answer(chat_url: str, mode: Any) -> None:
    rating = client(chat_url, mode).chat.completions.create(
        model="tgi", messages=RATE, response_model=Rating, max_retries=0, temperature=0
    )
    assert isinstance(rating, Rating)


def test_partial_models_of_a_stream(chat_url: str) -> None:
    seen = list(
        client(chat_url, Mode.TOOLS).chat.completions.create_partial(
            model="tgi", messages=RATE, response_model=Rating, temperature=0
        )
    )
    assert len(seen) > 1
    assert Rating.model_validate(seen[-1].model_dump()).mood in ("good", "bad")
