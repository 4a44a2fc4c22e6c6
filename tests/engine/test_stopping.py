from __future__ import annotations

import pytest

from jaxserve.engine.request import FinishReason, SamplingParams
from jaxserve.engine.stopping import reason_to_end
from tests.engine.fake_driver import request

EOS_IDS = frozenset({0, 90})
STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH
STOPS_ON_7 = frozenset({7})


@pytest.mark.parametrize(
    ("output_ids", "params", "expected"),
    [
        ([5], SamplingParams(max_tokens=3), (None, None)),
        ([5, 6, 7], SamplingParams(max_tokens=3), (LENGTH, None)),
        ([5, 0], SamplingParams(max_tokens=3), (STOP, None)),
        ([90], SamplingParams(max_tokens=3), (STOP, None)),
        ([5, 6, 0], SamplingParams(max_tokens=3), (STOP, None)),
        ([0], SamplingParams(max_tokens=3, ignore_eos=True), (None, None)),
        ([5, 6, 0], SamplingParams(max_tokens=3, ignore_eos=True), (LENGTH, None)),
        ([7], SamplingParams(max_tokens=3, stop_token_ids=STOPS_ON_7), (STOP, 7)),
        ([7], SamplingParams(max_tokens=1, stop_token_ids=STOPS_ON_7), (STOP, 7)),
        ([0], SamplingParams(max_tokens=3, stop_token_ids=frozenset({0})), (STOP, None)),
        (
            [0],
            SamplingParams(max_tokens=3, stop_token_ids=frozenset({0}), ignore_eos=True),
            (STOP, 0),
        ),
        ([5, 0], SamplingParams(max_tokens=9, min_tokens=2), (None, None)),
        ([5, 6, 0], SamplingParams(max_tokens=9, min_tokens=2), (STOP, None)),
        ([7], SamplingParams(max_tokens=9, min_tokens=1, stop_token_ids=STOPS_ON_7), (None, None)),
        ([5, 6], SamplingParams(max_tokens=2, min_tokens=2), (LENGTH, None)),
    ],
)
def test_reason_to_end(
    output_ids: list[int],
    params: SamplingParams,
    expected: tuple[FinishReason | None, int | None],
) -> None:
    asked = request("a", [1], params)
    asked.output_ids = output_ids
    assert reason_to_end(asked, EOS_IDS) == expected
