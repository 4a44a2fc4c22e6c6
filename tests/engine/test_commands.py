"""A runner that only follows another one's commands ends up with the same state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxserve.engine.commands import (
    Command,
    PlaceAdapters,
    RunStep,
    ScorePrompts,
    WriteMasks,
    WriteSlot,
    decode,
    encode,
)
from jaxserve.engine.sizes import EngineSizes
from tests.engine.driver import EOS, Driver, make_request, make_runner
from tests.fakes import FakeConstraint
from tests.tiny_models import write_tiny_llama

SMALL = EngineSizes(
    page_size=4, num_pages=160, max_batch_size=2, token_budget=16, max_model_len=128
)
WORDS = np.array([[7, -1, 2**31 - 1, -(2**31)]] * 4, np.int32)
FACTORS = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4, 2), np.float32)


@pytest.mark.parametrize(
    "command",
    [
        RunStep(3, WORDS[0]),
        ScorePrompts(1, WORDS[1]),
        WriteSlot(200, WORDS),
        WriteMasks(WORDS[:2]),
        PlaceAdapters({}),
        PlaceAdapters({0: {}, 2: {"layers.0.mlp.up_proj": FACTORS}}),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command_comes_out_of_its_bytes(command: Command) -> None:
    again = decode(encode(command))
    assert type(again) is type(command)
    jax.tree.map(np.testing.assert_array_equal, again, command)


def test_whoever_only_does_what_is_told_has_the_same_state(tmp_path: Path) -> None:
    folder = write_tiny_llama(tmp_path / "llama")
    sizes = replace(SMALL, num_draft_tokens=2)
    leader, follower = make_runner(folder, sizes=sizes), make_runner(folder, sizes=sizes)
    told: list[type] = []

    def tell(command: Command) -> None:
        told.append(type(command))
        jax.block_until_ready(follower.do(decode(encode(command))))

    leader.lead(tell)
    constraint = FakeConstraint(lambda o: {len(o), 40}, eos=EOS)
    driver = Driver(leader, max_batch_size=2, token_budget=16, num_draft_tokens=2)
    driver.run(
        make_request("seeded", [4, 4, 8], temperature=1.0, seed=6),
        make_request("scored", [7 * i % 60 for i in range(40)], prompt_logprobs=1),
        make_request("held", [2, 8], constraint=constraint),
        make_request("counted", [4, 9, 8], repetition_penalty=1.5, logit_bias=((3, 2.0),)),
        make_request("drafted", [3, 4, 3], presence_penalty=0.1, allowed_token_ids=frozenset({3})),
    )
    assert driver.scheduler.stats().totals.drafts > 0
    assert set(told) == {RunStep, ScorePrompts, WriteSlot, WriteMasks}
    jax.tree.map(np.testing.assert_array_equal, follower.state, leader.state)
    leader.close()
    follower.close()
