"""jaxserve: an inference server for open-weights language models, in JAX and Flax."""

from typing import TYPE_CHECKING, Any

from jaxserve.version import __version__

if TYPE_CHECKING:
    from jaxserve.llm import LLM, SamplingParams

__all__ = ["LLM", "SamplingParams", "__version__"]


def __getattr__(name: str) -> Any:
    """The offline interface, loaded when it is asked for: JAX comes with it."""
    if name not in ("LLM", "SamplingParams"):
        raise AttributeError(f"module 'jaxserve' has no attribute {name!r}")
    from jaxserve import llm

    return getattr(llm, name)
