"""The HTTP front: OpenAI-compatible routes over a `TextGenerator`. Knows no JAX."""
