"""What do grammars cost: compiling, masks, and the decode rate of the rows beside them?

    python scripts/bench_grammar.py [FOLDER]

Draws an answer for every schema of the tests' sample with the engine, without HTTP, and prints
how many compile, end and are valid, what compiling and masks take, and how fast free rows decode
alone, beside as many free rows again, and beside as many constrained ones. Run it alone on the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import jax
import jsonschema

from jaxserve.build import BuiltEngine, build_engine
from jaxserve.config import EngineConfig, ModelSource, ServeConfig
from jaxserve.engine.constraint import Constraint
from jaxserve.engine.request import FinishReason, Request, SamplingParams, TokenDelta
from jaxserve.errors import InvalidRequest
from jaxserve.text.grammar import Grammar, GrammarWish
from jaxserve.text.grammar_compiler import GrammarCompiler
from tests.text.schemas import REFUSED, SCHEMAS

PROMPT_TOKENS = 32
ANSWER_TOKENS = 512
FREE_TOKENS = 192
NUM_FREE = 6  # twice as many run in the same bucket, so that a row more costs nothing itself
ROUNDS = 5
ENDLESS = {"type": "array", "items": SCHEMAS["flat record"], "minItems": 1000}


@dataclass
class Timed:
    """A constraint that notes what its masks and tokens take."""

    constraint: Constraint
    mask_s: list[float]
    advance_s: list[float]

    @property
    def complete(self) -> bool:
        return self.constraint.complete

    def advance(self, token_id: int) -> None:
        started = time.perf_counter()
        self.constraint.advance(token_id)
        self.advance_s.append(time.perf_counter() - started)

    def next_mask(self) -> bytes:
        started = time.perf_counter()
        mask = self.constraint.next_mask()
        self.mask_s.append(time.perf_counter() - started)
        return mask


@dataclass
class Run:
    """The tokens of a request, and when they came."""

    token_ids: list[int] = field(default_factory=list)
    came_s: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


class Bench:
    """A running engine and who is told of its tokens."""

    def __init__(self, built: BuiltEngine) -> None:
        self.built = built
        self.compiler = GrammarCompiler(built.tokenizer, built.loop.limits)
        self.runs: defaultdict[str, Run] = defaultdict(Run)
        self._told = threading.Condition()
        self._num_submitted = 0
        built.loop.start(self._deliver)

    def compile(self, schema: object) -> Grammar:
        wish = GrammarWish("json_schema", json.dumps(schema))
        return asyncio.run(self.compiler.compile(wish, param="schema"))

    def submit(self, constraint: Constraint | None, *, max_tokens: int, seed: int = 0) -> str:
        self._num_submitted += 1
        request_id = f"r{self._num_submitted}"
        params = SamplingParams(
            max_tokens=max_tokens, temperature=1.0, seed=seed, ignore_eos=constraint is None
        )
        offset = self._num_submitted
        prompt = tuple((offset + 7 * i) % 100 + 20 for i in range(PROMPT_TOKENS))
        self.built.loop.submit(
            Request(id=request_id, prompt_ids=prompt, params=params, constraint=constraint)
        )
        return request_id

    def wait(self, request_ids: Iterable[str], *, for_end: bool = True) -> None:
        def there(run: Run) -> bool:
            return run.finish_reason is not None or (not for_end and bool(run.token_ids))

        ids = list(request_ids)
        with self._told:
            self._told.wait_for(lambda: all(there(self.runs[i]) for i in ids))

    def _deliver(self, deltas: Sequence[TokenDelta]) -> None:
        now_s = time.perf_counter()
        with self._told:
            for delta in deltas:
                run = self.runs[delta.request_id]
                run.token_ids += delta.token_ids
                run.came_s += [now_s] * len(delta.token_ids)
                run.finish_reason = delta.finish_reason
            self._told.notify_all()


def coverage(bench: Bench) -> None:
    """Compile and answer every schema of the sample, and say what it took."""
    compile_s, mask_s, advance_s = list[float](), list[float](), list[float]()
    bench.compile({"const": "the process that tries grammars is up"})
    asked: dict[str, str] = {}
    for name, schema in SCHEMAS.items():
        started = time.perf_counter()
        grammar = bench.compile(schema)
        compile_s.append(time.perf_counter() - started)
        timed = Timed(grammar.start(), mask_s, advance_s)
        asked[bench.submit(timed, max_tokens=ANSWER_TOKENS, seed=len(asked))] = name
    bench.wait(asked)
    ended = [i for i in asked if bench.runs[i].finish_reason is FinishReason.STOP]
    valid = [i for i in ended if is_valid(bench, i, SCHEMAS[asked[i]])]
    print(f"{len(SCHEMAS)} schemas compiled; {num_refused(bench)} of {len(REFUSED)} refused")
    print(f"{len(ended)} answers came to their end, {len(valid)} of them valid")
    say("compiling", compile_s)
    say("a mask", mask_s)
    say("taking a token in", advance_s)


def is_valid(bench: Bench, request_id: str, schema: dict[str, object]) -> bool:
    tokenizer = bench.built.tokenizer
    ids = bench.runs[request_id].token_ids
    text = b"".join(tokenizer.token_bytes(i) for i in ids if not tokenizer.is_special(i))
    validator = jsonschema.validators.validator_for(schema)(schema)
    return bool(validator.is_valid(json.loads(text)))


def num_refused(bench: Bench) -> int:
    refused = 0
    for schema, _ in REFUSED.values():
        try:
            bench.compile(schema)
        except InvalidRequest:
            refused += 1
    return refused


def say(what: str, took_s: Sequence[float]) -> None:
    cuts = statistics.quantiles(took_s, n=100)
    median, p95, worst = (1e6 * x for x in (cuts[49], cuts[94], max(took_s)))
    print(f"{what}: median {median:.0f} us, p95 {p95:.0f} us, worst {worst:.0f} us")


def free_rate(bench: Bench, beside: Sequence[Constraint | None]) -> tuple[float, float]:
    """Tokens per second of each free row, and of each row beside them."""
    companions = [bench.submit(c, max_tokens=4 * FREE_TOKENS) for c in beside]
    bench.wait(companions, for_end=False)
    free = [bench.submit(None, max_tokens=FREE_TOKENS, seed=i) for i in range(NUM_FREE)]
    bench.wait(free)
    for request_id in companions:
        bench.built.loop.abort(request_id)
    bench.wait(companions)
    start_s = min(bench.runs[i].came_s[0] for i in free)
    end_s = max(bench.runs[i].came_s[-1] for i in free)
    within = [
        sum(start_s < s <= end_s for s in bench.runs[i].came_s) / (end_s - start_s)
        for i in companions
    ]
    free_rates = [rate(bench.runs[i]) for i in free]
    return statistics.mean(free_rates), statistics.mean(within) if within else 0.0


def rate(run: Run) -> float:
    return (len(run.came_s) - 1) / (run.came_s[-1] - run.came_s[0])


def neighbours(bench: Bench) -> None:
    """Measure the three mixtures in turn, ROUNDS times, and print medians and ratios."""
    grammar = bench.compile(ENDLESS)
    mixtures: dict[str, Callable[[], Sequence[Constraint | None]]] = {
        "alone": lambda: [],
        f"beside {NUM_FREE} free": lambda: [None] * NUM_FREE,
        f"beside {NUM_FREE} constrained": lambda: [grammar.start() for _ in range(NUM_FREE)],
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in mixtures}
    for _ in range(ROUNDS):
        for name, beside in mixtures.items():
            rates[name].append(free_rate(bench, beside()))
    print(f"\n| {NUM_FREE} free rows | tokens/s each | ratio | tokens/s of each beside |")
    print("|---|---|---|---|")
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in rates.items()
    }
    first = medians["alone"][0]
    for name, (free, others) in medians.items():
        print(f"| {name} | {free:.1f} | {free / first:.2f} | {others:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", help="model folder (default: the shipped model)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    asked = parser.parse_args()
    config = ServeConfig(
        source=ModelSource(model=asked.model, dtype=asked.dtype),
        engine=EngineConfig(max_model_len=2048, max_batch_size=16),
    )
    bench = Bench(build_engine(config, log=io.StringIO()))
    print(f"{bench.built.num_params / 1e6:.1f} M parameters, {jax.devices()[0].device_kind}, "
          f"{bench.built.tokenizer.vocab_size} tokens in the vocabulary")  # fmt: skip
    coverage(bench)
    neighbours(bench)
    bench.compiler.close()
    bench.built.loop.stop(10.0)


if __name__ == "__main__":
    main()
