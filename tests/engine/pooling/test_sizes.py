import pytest

from jaxserve.config import EngineConfig
from jaxserve.engine.pooling.sizes import choose_pooling_sizes
from jaxserve.errors import ConfigError


def test_a_text_may_be_as_long_as_the_folder_says() -> None:
    sizes, reasons = choose_pooling_sizes(EngineConfig(), platform="cpu", context=512, advised=256)
    assert sizes.max_model_len == 256
    assert reasons[0] == "input 256 tokens: what the model's folder says"


def test_more_can_be_asked_for_up_to_the_context() -> None:
    asked = EngineConfig(max_model_len=512, max_batch_size=2, token_budget=64)
    sizes, reasons = choose_pooling_sizes(asked, platform="cpu", context=512, advised=256)
    assert (sizes.max_model_len, sizes.max_batch_size, sizes.token_budget) == (512, 2, 64)
    assert all(reason.endswith("as asked") for reason in reasons)
    with pytest.raises(ConfigError, match="513 and the model reads 512"):
        choose_pooling_sizes(
            EngineConfig(max_model_len=513), platform="cpu", context=512, advised=None
        )


@pytest.mark.parametrize("name", ["page_size", "num_pages"])
def test_pages_mean_nothing_here(name: str) -> None:
    asked = EngineConfig(page_size=16) if name == "page_size" else EngineConfig(num_pages=16)
    with pytest.raises(ConfigError, match=f"{name} is 16, and this model keeps no KV cache"):
        choose_pooling_sizes(asked, platform="cpu", context=512, advised=None)
