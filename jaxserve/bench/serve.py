"""How well does a server answer many at once? A load on any URL that speaks the OpenAI API.

Knows nothing of the server's insides: what it counts is what a client sees.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

import orjson
import uvloop
from tqdm import tqdm

from jaxserve.bench.client import CHAT, Answer, Client, Endpoint, Manner
from jaxserve.bench.drive import Arrivals, converse, drive
from jaxserve.bench.flavors import FlavorName, flavor_named
from jaxserve.bench.http import Address, Connections
from jaxserve.bench.lengths import Lengths
from jaxserve.bench.prompts import Recorded, read_prompts
from jaxserve.bench.summary import parse_goodput, summarize
from jaxserve.bench.words import COMMON, Words, calibrate
from jaxserve.bench.workload import Conversation, Shape, conversations
from jaxserve.errors import ConfigError, EngineFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLoad:
    """A load, and the server to put it on."""

    base_url: str = "http://127.0.0.1:8080"
    """Address of the server, with or without /v1."""
    model: str | None = None
    """Name of the model. Default: the first that /v1/models lists."""
    flavor: FlavorName = "jaxserve"
    """Kind of server: in what way it is told to go on past the end of a sequence."""
    endpoint: Endpoint = CHAT
    """Route to ask."""
    num_prompts: int = 100
    """Conversations to have; requests, where each has one turn."""
    max_concurrency: int | None = None
    """Most conversations at once. Default: as many as there are."""
    request_rate: float | None = None
    """Conversations that begin in a second, in the mean. Default: all at once."""
    burstiness: float = 1.0
    """Shape of the time between arrivals: 1 is a Poisson process, less comes in bursts."""
    input_len: str = "128"
    """Tokens of what is said in a turn: 128, uniform:64:256 or normal:512:128."""
    output_len: str | None = None
    """Tokens of an answer, likewise. Default: as recorded in the dataset, 128 where nothing is."""
    turns: int = 1
    """Turns of a conversation; each is asked with all that was said before it."""
    prefix_len: int = 0
    """Tokens that come first in every conversation, the same for those that share a prefix."""
    num_prefixes: int = 1
    """Different prefixes."""
    dataset_path: Path | None = None
    """Prompts to ask in place of random words: .txt, .jsonl, or .json as ShareGPT's."""
    ignore_eos: bool = True
    """Have answers of exactly the length asked for, in the flavor's way."""
    temperature: float | None = None
    """Temperature to ask for. Default: the server's."""
    goodput: tuple[str, ...] = ()
    """Limits in milliseconds that a good answer keeps, as ttft:200 itl:50 e2e:5000 (and tpot);
    itl is the longest gap in it."""
    num_warmups: int = 1
    """Requests that are asked first and counted nowhere."""
    timeout_s: float = 600.0
    """Seconds that an answer may take."""
    header: tuple[str, ...] = ()
    """More headers, as NAME:VALUE."""
    seed: int = 0
    """Seed of the lengths, the words and the arrivals."""
    label: str | None = None
    """A name for the run in its results."""
    price_per_hour: float | None = None
    """What the machine costs an hour; gives the price of a million tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeReport:
    """What a run measured. `figures` has the keys of `vllm bench serve`."""

    load: ServeLoad
    model: str
    answers: tuple[Answer, ...]
    figures: Mapping[str, Any]
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))

    def to_dict(self, *, detailed: bool = False) -> dict[str, Any]:
        """Plain values; with `detailed` also those of each request, in seconds."""
        load = self.load
        said = {
            "date": self.date,
            "label": load.label,
            "backend": load.flavor,
            "endpoint": load.endpoint,
            "base_url": load.base_url,
            "model_id": self.model,
            "num_prompts": load.num_prompts,
            "request_rate": load.request_rate if load.request_rate is not None else "inf",
            "burstiness": load.burstiness,
            "max_concurrency": load.max_concurrency,
            "workload": _workload(load),
            **self.figures,
        }
        return {**said, **self._details()} if detailed else said

    def save(self, path: Path, *, detailed: bool = False) -> None:
        """Write the results as JSON."""
        path.write_bytes(orjson.dumps(self.to_dict(detailed=detailed), option=orjson.OPT_INDENT_2))

    def _details(self) -> dict[str, Any]:
        first_s = min((answer.sent_s for answer in self.answers), default=0.0)
        return {
            "start_times": [answer.sent_s - first_s for answer in self.answers],
            "input_lens": [answer.prompt_tokens for answer in self.answers],
            "output_lens": [answer.output_tokens for answer in self.answers],
            "ttfts": [None if answer.error else answer.ttft_s for answer in self.answers],
            "itls": [answer.gaps_s for answer in self.answers],
            "e2els": [None if answer.error else answer.e2e_s for answer in self.answers],
            "errors": [answer.error or "" for answer in self.answers],
        }


def measure(load: ServeLoad, *, log: TextIO = sys.stderr, progress: bool = True) -> ServeReport:
    """Put the load on the server and say what came of it.

    May be called where an event loop runs, as in a notebook. Raises ConfigError for a load that
    makes no sense, EngineFailed for a server that does not answer a first request.
    """
    _check(load)
    recorded = read_prompts(load.dataset_path) if load.dataset_path else []
    return _run(_measure(load, recorded, log=log, progress=progress))


async def _measure(
    load: ServeLoad, recorded: list[tuple[Recorded, ...]], *, log: TextIO, progress: bool
) -> ServeReport:
    address, headers = Address.parse(load.base_url), _headers(load)
    model = load.model or await first_model(address, headers)
    client = Client(address, _manner(load, model, headers))
    try:
        work = await _work(load, recorded, client)
        for conversation in work[load.num_prompts :]:
            await converse(conversation, client.ask)
        counted = work[: load.num_prompts]
        return await _timed(load, model, counted, client, log=log, progress=progress)
    finally:
        client.close()


async def _timed(
    load: ServeLoad,
    model: str,
    work: list[Conversation],
    client: Client,
    *,
    log: TextIO,
    progress: bool,
) -> ServeReport:
    arrivals = Arrivals(
        rate=load.request_rate, burstiness=load.burstiness, concurrency=load.max_concurrency
    )
    hidden = None if progress else True  # None: no bar where nobody watches
    with tqdm(total=sum(map(len, work)), unit="request", file=log, disable=hidden) as bar:
        began_s = time.perf_counter()
        answers = await drive(
            work,
            client.ask,
            arrivals=arrivals,
            source=random.Random(load.seed + 1),
            on_answer=lambda _: bar.update(),
        )
        duration_s = time.perf_counter() - began_s
    figures = summarize(
        answers,
        duration_s=duration_s,
        objectives=parse_goodput(load.goodput),
        price_per_hour=load.price_per_hour,
    )
    return ServeReport(load=load, model=model, answers=tuple(answers), figures=figures)


async def _work(
    load: ServeLoad, recorded: list[tuple[Recorded, ...]], client: Client
) -> list[Conversation]:
    vocabulary = _vocabulary(recorded) or COMMON
    if recorded and load.output_len and not load.prefix_len:
        words = Words(vocabulary, 1.0, 0.0)  # every text is there and every length is asked for
    else:
        # Words of its own, so that no prompt is found in the prefix cache.
        words = await calibrate(client.ask, vocabulary, random.Random(load.seed - 1))
    return conversations(
        _shape(load),
        load.num_prompts + load.num_warmups,
        words=words,
        recorded=recorded,
        source=random.Random(load.seed),
    )


async def first_model(address: Address, headers: Mapping[str, str]) -> str:
    """The first model that a server lists; raises EngineFailed when it lists none."""
    body = bytearray()
    connections = Connections(address, keep=False)
    request = address.request("GET", "/v1/models", b"", headers)
    try:
        status = await connections.exchange(request, body.extend)
        listed = orjson.loads(bytes(body))
        if status == 200:
            return str(listed["data"][0]["id"])
    except OSError as error:
        raise EngineFailed(f"there is no server at {address.url}: {error}") from None
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        status = 200
    raise EngineFailed(
        f"{address.url}/v1/models answered {status} and named no model; pass --model"
    )


def _manner(load: ServeLoad, model: str, headers: Mapping[str, str]) -> Manner:
    return Manner(
        endpoint=load.endpoint,
        model=model,
        flavor=flavor_named(load.flavor, ignore_eos=load.ignore_eos),
        ignore_eos=load.ignore_eos,
        headers=headers,
        sampling={} if load.temperature is None else {"temperature": load.temperature},
        timeout_s=load.timeout_s,
    )


def _headers(load: ServeLoad) -> dict[str, str]:
    """Those given, and the bearer token that OpenAI's clients read from the environment."""
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    for given in load.header:
        name, colon, value = given.partition(":")
        if not colon or not name.strip() or not given.isprintable():
            raise ConfigError(f"header {given!r}: write NAME:VALUE")
        headers[name.strip().lower()] = value.strip()
    return headers


def _shape(load: ServeLoad) -> Shape:
    output_len = load.output_len or (None if load.dataset_path else "128")
    return Shape(
        input_len=Lengths.parse(load.input_len),
        output_len=Lengths.parse(output_len) if output_len else None,
        turns=load.turns,
        prefix_tokens=load.prefix_len,
        num_prefixes=load.num_prefixes if load.prefix_len else 0,
    )


def _check(load: ServeLoad) -> None:
    least = {"num_prompts": 1, "turns": 1, "num_prefixes": 1, "prefix_len": 0, "num_warmups": 0}
    for name, bound in least.items():
        if getattr(load, name) < bound:
            raise ConfigError(f"{name} is {getattr(load, name)}; it begins at {bound}")
    for name in ("max_concurrency", "request_rate", "burstiness", "timeout_s", "price_per_hour"):
        value = getattr(load, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{name} is {value}; it must be above 0")
    _shape(load)
    parse_goodput(load.goodput)


def _workload(load: ServeLoad) -> dict[str, Any]:
    names = ("input_len", "output_len", "turns", "prefix_len", "num_prefixes", "ignore_eos", "seed")
    path = load.dataset_path
    settings = asdict(load)
    return {"dataset": str(path) if path else "random", **{n: settings[n] for n in names}}


def _vocabulary(recorded: list[tuple[Recorded, ...]]) -> tuple[str, ...]:
    texts = (turn.answer or turn.text for turns in recorded for turn in turns)
    return tuple(word for text in texts for word in text.split())


def _run(work: Coroutine[Any, Any, T]) -> T:
    def run() -> T:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as pool:  # a notebook's loop is running: take a thread of our own
        return pool.submit(run).result()
