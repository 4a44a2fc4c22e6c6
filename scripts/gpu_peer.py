"""How fast is transformers on this shape? Random weights, static cache, its own compilation.

Needs PyTorch with a GPU, as the environment has it; without one the part says so and ends.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from jaxserve.bench.table import table

STEPS = (8, 40)  # generated twice, so that the difference is decode alone
ROUNDS = 3


def main(shape: Path, *, dry_run: bool) -> None:
    """Prints decode by rows and prefill by tokens."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    if not dry_run and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = AutoConfig.from_pretrained(shape)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    cases = [1, 2] if dry_run else [1, 64]
    decode = [(f"decode, rows {rows}", *_decode(model, rows, dry_run=dry_run)) for rows in cases]
    lengths = (16,) if dry_run else (512, 2048)
    prefill = [(f"prefill, tokens {tokens}", *_prefill(model, tokens)) for tokens in lengths]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(table(("what", "tokens/s", "step ms"), [*decode, *prefill]))


def _decode(model: Any, rows: int, *, dry_run: bool) -> tuple[float, float]:
    import torch

    prompts = torch.randint(3, model.config.vocab_size, (rows, 128), device=model.device)

    def seconds(count: int) -> float:
        _ended()
        started_s = time.perf_counter()
        model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            min_new_tokens=count,
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            cache_implementation=None if dry_run else "static",
        )
        _ended()
        return time.perf_counter() - started_s

    few, many = STEPS
    seconds(many), seconds(many)
    step_s = statistics.median((seconds(many) - seconds(few)) / (many - few) for _ in range(ROUNDS))
    return rows / step_s, step_s * 1e3


def _prefill(model: Any, num_tokens: int) -> tuple[float, float]:
    import torch

    prompt = torch.randint(3, model.config.vocab_size, (1, num_tokens), device=model.device)

    def seconds() -> float:
        _ended()
        started_s = time.perf_counter()
        with torch.no_grad():
            model(prompt, logits_to_keep=1)
        _ended()
        return time.perf_counter() - started_s

    seconds()
    taken = statistics.median(seconds() for _ in range(ROUNDS))
    return num_tokens / taken, taken * 1e3


def _ended() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
