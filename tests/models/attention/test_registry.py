"""A backend serves when it can and is right; otherwise xla does, and the reason is told."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxserve.errors import ConfigError
from jaxserve.models.attention import registry
from jaxserve.models.attention.interface import AttentionSpec, Demands, LayerDemand
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.registry import Chosen, choose
from jaxserve.models.attention.self_check import fault_of
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.sharding.mesh import make_mesh

FLOAT32 = jnp.dtype("float32")
LAYER = LayerDemand(
    row=KVRow(num_heads=2, head_dim=8), num_q_heads=4, spec=AttentionSpec(scale=0.3, window=5)
)
DEMANDS = Demands(layers=(LAYER,), dtype=FLOAT32, kv_dtype=FLOAT32, page_size=4, platform="odd")


class Other(XlaAttention):
    """A backend of another name, right in everything."""

    name = "other"


class Picky(Other):
    def refusal(self, demands: Demands) -> str | None:
        return "windows"


class Forgetful(Other):
    """Attends to one token less than it should."""

    def __call__(self, q: Any, k: Any, v: Any, pages: Any, metadata: Any, **asked: Any) -> Any:
        pages = self.write(pages, k, v, metadata)
        short = metadata._replace(kv_lens=metadata.kv_lens - 1)
        return super().__call__(q, None, None, pages, short, **asked)


class NotANumber(Other):
    def __call__(self, *args: Any, **asked: Any) -> Any:
        out, pages = super().__call__(*args, **asked)
        return out.at[0, 0, 0].set(jnp.nan), pages


class Raising(Other):
    def __call__(self, *args: Any, **asked: Any) -> Any:
        raise RuntimeError("no kernel image is available\nfor execution")


def chosen(backend: type[XlaAttention], *, asked: str = "auto") -> Chosen:
    backends = {"xla": lambda _: XlaAttention(), "other": lambda _: backend()}
    mesh = make_mesh(tensor_parallel=1, devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_BY_PLATFORM", {"odd": "other"})
        return choose(asked, DEMANDS, mesh, backends=backends)


def test_the_platforms_own_serves_when_it_agrees_with_xla() -> None:
    choice = chosen(Other)
    assert (choice.backend.name, choice.fallback, choice.why) == ("other", "none", "")


def test_what_is_asked_for_serves() -> None:
    assert chosen(Other, asked="xla").backend.name == "xla"
    assert chosen(Other, asked="other").backend.name == "other"


def test_what_the_platforms_own_does_not_do_xla_does() -> None:
    choice = chosen(Picky)
    assert (choice.backend.name, choice.fallback) == ("xla", "unsupported")
    assert choice.why == "other does not do windows"


def test_asking_for_one_that_does_not_do_it_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"attention_backend = 'other' does not do windows; .*xla"
    ):
        chosen(Picky, asked="other")


@pytest.mark.parametrize("asked", ["auto", "other"])
@pytest.mark.parametrize(
    ("backend", "told"),
    [
        (Forgetful, "other differs from xla by "),
        (NotANumber, "other differs from xla by inf"),
        (Raising, "other failed with RuntimeError: no kernel image is available"),
    ],
)
def test_one_that_is_wrong_here_is_replaced(
    backend: type[XlaAttention], told: str, asked: str
) -> None:
    choice = chosen(backend, asked=asked)
    assert (choice.backend.name, choice.fallback) == ("xla", "faulty")
    assert choice.why.startswith(told) and "\n" not in choice.why


@pytest.mark.parametrize(
    ("sinks", "value_dim", "kv_dtype"), [(True, None, "int8"), (False, 5, "bfloat16")]
)
def test_the_check_covers_what_layers_ask_for(
    sinks: bool, value_dim: int | None, kv_dtype: str
) -> None:
    layer = LayerDemand(
        row=KVRow(num_heads=2, head_dim=8, value_dim=value_dim),
        num_q_heads=4,
        spec=AttentionSpec(scale=0.3, value_dim=value_dim),
        sinks=sinks,
    )
    demands = Demands(
        layers=(layer,),
        dtype=FLOAT32,
        kv_dtype=jnp.dtype(kv_dtype),
        page_size=4,
        platform="odd",
    )
    assert fault_of(Other(), demands) is None
