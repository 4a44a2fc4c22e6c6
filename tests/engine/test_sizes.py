"""Sizes follow from the model and the memory, and misfits say what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jaxserve.config import EngineConfig, SpeculationConfig
from jaxserve.engine.sizes import Surroundings, choose_sizes
from jaxserve.errors import ConfigError

SMALL = Surroundings(
    platform="cpu", free_bytes=10_000_000_000, kv_bytes_per_token=1000, context=2048
)


def with_memory(free_bytes: int) -> Surroundings:
    return Surroundings(
        platform="cpu", free_bytes=free_bytes, kv_bytes_per_token=1000, context=2048
    )


def test_the_pool_holds_the_largest_batch_at_full_context_when_that_fits() -> None:
    sizes, reasons = choose_sizes(EngineConfig(), SMALL)
    assert sizes.num_pages * sizes.page_size == sizes.max_batch_size * 2048
    assert sizes.max_model_len == 2048
    assert len(reasons) == 5


def test_the_pool_and_the_context_shrink_to_the_memory_there_is() -> None:
    sizes, reasons = choose_sizes(EngineConfig(), with_memory(1_000_000))
    assert sizes.num_pages * sizes.page_size * 1000 <= 1_000_000
    assert sizes.max_model_len == sizes.num_pages * sizes.page_size == 992
    assert "what the pages hold" in reasons[0]


def test_what_is_asked_for_is_taken() -> None:
    asked = EngineConfig(
        max_model_len=512, page_size=8, num_pages=100, max_batch_size=3, token_budget=40
    )
    sizes, reasons = choose_sizes(asked, SMALL)
    assert (sizes.max_model_len, sizes.page_size, sizes.num_pages) == (512, 8, 100)
    assert (sizes.max_batch_size, sizes.token_budget, sizes.pages_per_seq) == (3, 40, 64)
    assert all("as asked" in reason for reason in reasons)


def test_a_batch_larger_than_the_default_budget_raises_the_budget() -> None:
    assert choose_sizes(EngineConfig(max_batch_size=600), SMALL)[0].token_budget == 600


@pytest.mark.parametrize(
    ("config", "around", "says"),
    [
        (EngineConfig(), with_memory(10_000), "does not fit"),
        (EngineConfig(num_pages=10_000_000), SMALL, "lower num_pages"),
        (EngineConfig(max_model_len=4096), SMALL, "context 2048"),
        (EngineConfig(max_model_len=2048, num_pages=10), SMALL, "raise num_pages"),
        (EngineConfig(max_batch_size=8, token_budget=4), SMALL, "one token of each"),
    ],
)
def test_what_cannot_be_is_refused(config: EngineConfig, around: Surroundings, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        choose_sizes(config, around)


def with_state(state_bytes: int, free_bytes: int = 10_000_000_000) -> Surroundings:
    return replace(with_memory(free_bytes), state_bytes_per_slot=state_bytes)


def test_pages_take_what_the_states_of_a_batch_leave() -> None:
    plain, _ = choose_sizes(EngineConfig(), with_memory(2_000_000))
    beside, reasons = choose_sizes(EngineConfig(max_batch_size=10), with_state(50_000, 2_000_000))
    assert plain.num_pages * plain.page_size == 2_000
    assert beside.num_pages * beside.page_size == 1_488
    assert any("0.05 MB a request, 0.5 MB for the batch" in reason for reason in reasons)


def test_a_state_turns_the_prefix_cache_off_and_says_so() -> None:
    sizes, reasons = choose_sizes(EngineConfig(), with_state(50))
    assert not sizes.prefix_cache
    assert any("prefix cache off" in reason for reason in reasons)
    assert choose_sizes(EngineConfig(), SMALL)[0].prefix_cache
    assert not choose_sizes(EngineConfig(prefix_cache=False), SMALL)[0].prefix_cache


def test_the_default_batch_leaves_half_of_the_memory_to_pages() -> None:
    assert choose_sizes(EngineConfig(), with_state(100_000, 1_000_000))[0].max_batch_size == 5
    assert choose_sizes(EngineConfig(), with_state(100))[0].max_batch_size == 16


def test_states_that_leave_no_room_are_refused_with_what_would_fit() -> None:
    with pytest.raises(ConfigError, match="max_batch_size must be below 11"):
        choose_sizes(EngineConfig(max_batch_size=20), with_state(100_000, 1_000_000))


def test_drafts_are_refused_where_a_state_cannot_be_taken_back() -> None:
    ngram = SpeculationConfig(speculative="ngram", num_speculative_tokens=3)
    sizes, reasons = choose_sizes(EngineConfig(), SMALL, ngram)
    assert sizes.num_draft_tokens == 3
    assert "drafts of up to 3 tokens" in reasons[-1]
    with pytest.raises(ConfigError, match="carry a state"):
        choose_sizes(EngineConfig(), with_state(100), ngram)
    with pytest.raises(ConfigError, match="prompt_lookup_min is 5"):
        choose_sizes(EngineConfig(), SMALL, replace(ngram, prompt_lookup_min=5))
