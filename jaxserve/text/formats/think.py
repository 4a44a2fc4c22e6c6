"""Reasoning between think tags: Qwen 3, QwQ, DeepSeek, GLM, SmolLM3 and many more."""

from jaxserve.text.calls.description import ReasoningFormat

THINK = ReasoningFormat(
    name="think", markers=("<think>",), opens=("<think>",), closes=("</think>",)
)

SEED_THINK = ReasoningFormat(
    name="seed-think",
    markers=("<seed:think>",),
    opens=("<seed:think>",),
    closes=("</seed:think>",),
)
