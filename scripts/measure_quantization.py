"""What does each way of quantising cost the shipped model in quality?

    python scripts/measure_quantization.py [--cases 500] [--seed 5]

Answers held-out questions greedily and counts exact ones, and sums the log-likelihood of the right
answers, through the engine as it serves. Prints the table of docs/quantization.md. No timings.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxserve.build import BuiltEngine, build_engine
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.pages import PagePool
from jaxserve.engine.request import Request, SamplingParams, TokenDelta
from jaxserve.engine.runner import InFlight
from jaxserve.engine.scheduler import Scheduler
from jaxserve.engine.step import Step
from scripts.tiny_chat.held_out import Case, held_out
from scripts.tiny_chat.render import render

SETTINGS: tuple[dict[str, str], ...] = (
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"quantize": "int8"},
    {"quantize": "fp8"},
    {"quantize": "int4"},
    {"kv_cache_dtype": "int8"},
    {"kv_cache_dtype": "fp8"},
    {"quantize": "int8", "kv_cache_dtype": "int8"},
)
MAX_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one setting: questions answered exactly, and nats per token of the right answers."""

    num_right: int
    nats_per_token: float


def engine(setting: dict[str, str]) -> BuiltEngine:
    engine_keys = {"kv_cache_dtype"}
    source: Any = {key: value for key, value in setting.items() if key not in engine_keys}
    sizes: Any = {key: value for key, value in setting.items() if key in engine_keys}
    config = ServeConfig(
        source=ModelSource(**source),
        engine=EngineConfig(max_model_len=1024, token_budget=128, **sizes),
    )
    return build_engine(config, log=io.StringIO())


def deltas(built: BuiltEngine, requests: Sequence[Request]) -> Iterator[TokenDelta]:
    """Everything the engine says while it runs `requests` to their ends."""
    sizes = built.sizes
    scheduler = Scheduler(
        PagePool(sizes.num_pages, sizes.page_size, prefix_cache=True),
        limits=built.loop.limits,
        max_batch_size=sizes.max_batch_size,
        token_budget=sizes.token_budget,
    )
    for request in requests:
        scheduler.add(request)
    flying: tuple[Step, InFlight] | None = None
    while scheduler.num_unfinished or flying:
        step = scheduler.schedule()
        before, flying = flying, (step, built.runner.dispatch(step)) if step else None
        if before:
            yield from scheduler.commit(before[0], built.runner.collect(before[1]))


def replies(built: BuiltEngine, prompts: Sequence[list[int]]) -> list[str]:
    params = SamplingParams(max_tokens=MAX_TOKENS, temperature=0.0)
    requests = [
        Request(id=str(place), prompt_ids=tuple(ids), params=params)
        for place, ids in enumerate(prompts)
    ]
    for _ in deltas(built, requests):
        pass
    tokenizer = built.tokenizer
    texts = []
    for request in requests:
        shown = [token for token in request.output_ids if not tokenizer.is_special(token)]
        texts.append(b"".join(map(tokenizer.token_bytes, shown)).decode(errors="replace"))
    return texts


def nats_per_token(
    built: BuiltEngine, prompts: Sequence[list[int]], answers: Sequence[list[int]]
) -> float:
    """Mean log-likelihood of the answers' tokens, each after what comes before it."""
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
    pairs = list(zip(prompts, answers, strict=True))
    requests = [
        Request(id=str(place), prompt_ids=(*prompt, *answer), params=params)
        for place, (prompt, answer) in enumerate(pairs)
    ]
    scores: dict[str, list[float]] = {request.id: [] for request in requests}
    for delta in deltas(built, requests):
        scores[delta.request_id] += [entry.logprob for entry in delta.prompt_logprobs]
    of_answers = [
        score
        for place, (_, answer) in enumerate(pairs)
        for score in scores[str(place)][-len(answer) :]
    ]
    return sum(of_answers) / len(of_answers)


def measure(setting: dict[str, str], cases: Sequence[Case]) -> Quality:
    built = engine(setting)

    def encode(text: str) -> list[int]:
        return built.tokenizer.encode(text, add_special_tokens=False)

    prompts = [
        encode(render(case.messages, case.tools, add_generation_prompt=True)) for case in cases
    ]
    answers = [encode(case.expected + "<|im_end|>") for case in cases]
    said = replies(built, prompts)
    right = sum(case.passes(reply) for case, reply in zip(cases, said, strict=True))
    quality = Quality(right, nats_per_token(built, prompts, answers))
    built.runner.close()
    return quality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    cases = held_out(seed=arguments.seed, count=arguments.cases)
    print("| weights and KV cache | right | log-likelihood, nats a token | change |")
    print("|---|---|---|---|")
    first: Quality | None = None
    for setting in SETTINGS:
        quality = measure(setting, cases)
        first = first or quality
        name = ", ".join(f"{key} = {value}" for key, value in setting.items())
        change = quality.nats_per_token - first.nats_per_token
        print(
            f"| {name} | {quality.num_right / len(cases):.1%} | {quality.nats_per_token:.4f} "
            f"| {change:+.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
