"""jaxserve: an inference server for open-weights language models, in JAX and Flax."""

from jaxserve.version import __version__

__all__ = ["__version__"]
