"""How does a Python program use a model without a server? Prompts in, texts out, in batches.

The engine and the text side are those of the server; an event loop in a thread joins them. What
only a server has a use for is refused by name.
"""

from __future__ import annotations

import asyncio
import difflib
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

import pydantic
from tqdm import tqdm

from jaxserve.build import build_engine
from jaxserve.config import (
    EngineConfig,
    MeshConfig,
    ModelSource,
    ServeConfig,
    SpeculationConfig,
    check_config,
)
from jaxserve.errors import ConfigError, EngineFailed, InvalidRequest
from jaxserve.generate import TextDelta, TextGenerator, TextRequest
from jaxserve.models.source import read_generation_config
from jaxserve.server.sampling import SamplingDefaults, sampling_defaults, sampling_params
from jaxserve.server.schema import GenerationBody

T = TypeVar("T")
Message = Mapping[str, Any]
Prompt = str | Sequence[int] | Sequence[Message]
"""A text, token ids, or the messages of a conversation."""

STOP_S = 5.0
SERVER_ONLY = {"served_model_name", "tool_format", "reasoning_format", "lora", "max_loras"}
SERVER_ONLY |= {"max_lora_rank", "model"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to draw tokens and when to stop, with the names and ranges of the HTTP API.

    None means the model's own default. Without `max_tokens` the output may fill the context.
    """

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What became of a prompt: one whole delta for each of its `n` samples."""

    prompt_ids: tuple[int, ...]
    samples: tuple[TextDelta, ...]

    @property
    def text(self) -> str:
        """The text of the first sample."""
        return self.samples[0].text


class LLM:
    """A model in this process. Close it, or use it in a `with` statement."""

    def __init__(self, model: str | None = None, *, log: TextIO = sys.stderr, **settings: Any):
        """`settings` are fields of ModelSource, EngineConfig, MeshConfig and SpeculationConfig
        (`dtype`, `max_model_len`, `tensor_parallel` ...). Raises ConfigError and CheckpointError.
        """
        config = _config(model, settings)
        self._built = build_engine(config, log=log)
        self._defaults = _defaults(config, self._built.folder)
        self._generator = TextGenerator(self._built.loop, self._built.tokenizer)
        self._log = log
        self._events = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._events.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._start())

    def generate(
        self,
        prompts: str | Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        progress: bool = True,
    ) -> list[Output]:
        """Continue one text or several prompts, in their order; raises RequestError, EngineFailed.

        `progress` shows a bar where the log is a terminal.
        """
        several: Sequence[Prompt] = [prompts] if isinstance(prompts, str) else prompts
        return self._wait(self._generate(several, params or SamplingParams(), progress))

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        params: SamplingParams | None = None,
        *,
        progress: bool = True,
    ) -> list[Output]:
        """Answer one conversation or several, through the model's chat template."""
        one = bool(messages) and isinstance(messages[0], Mapping)
        several: Any = [messages] if one else messages
        return self.generate(several, params, progress=progress)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[str]:
        """The text of one answer as it comes. To leave the iterator ends the request."""
        params = params or SamplingParams()
        if params.n != 1:
            raise InvalidRequest(f"n is {params.n}; one sample can be streamed", param="n")
        stream = self._wait(self._submit(prompt, params))[1][0]
        try:
            while (delta := self._wait(_next(stream))) is not None:
                yield delta.text
        finally:
            if not self._events.is_closed():
                self._wait(stream.aclose())

    def close(self) -> None:
        """End what runs and let go of the model; may be called again."""
        if self._events.is_closed():
            return
        self._built.loop.stop(STOP_S)
        self._built.runner.close()
        self._generator.close()
        self._events.call_soon_threadsafe(self._events.stop)
        self._thread.join()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _start(self) -> None:
        self._generator.start()

    async def _generate(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: bool
    ) -> list[Output]:
        # As many at once as may wait; the others come when there is room.
        room = asyncio.Semaphore(
            max(1, self._generator.limits.max_queued_requests // _body(params).n)
        )
        hidden = None if progress else True
        with tqdm(total=len(prompts), unit="prompt", file=self._log, disable=hidden) as bar:

            async def answer(prompt: Prompt) -> Output:
                async with room:
                    prompt_ids, streams = await self._submit(prompt, params)
                    samples = await asyncio.gather(*(stream.read_all() for stream in streams))
                bar.update()
                return Output(prompt_ids, tuple(samples))

            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(answer(prompt)) for prompt in prompts]
        return [answer.result() for answer in answers]

    async def _submit(self, prompt: Prompt, params: SamplingParams) -> tuple[Any, Any]:
        body, generator = _body(params), self._generator
        prompt_ids = tuple(await self._encode(prompt))
        max_tokens = generator.max_tokens_for(len(prompt_ids), body.max_tokens)
        request = TextRequest(
            id="offline",
            prompt_ids=prompt_ids,
            n=body.n,
            stop=body.stop,
            include_stop_str_in_output=body.include_stop_str_in_output,
            skip_special_tokens=body.skip_special_tokens,
            params=sampling_params(
                body,
                max_tokens=max_tokens,
                num_logprobs=params.logprobs,
                defaults=self._defaults,
                limits=generator.limits,
            ),
        )
        return prompt_ids, generator.submit(request)

    async def _encode(self, prompt: Prompt) -> Sequence[int]:
        if isinstance(prompt, str):
            return await self._generator.encode_text(prompt)
        if prompt and isinstance(prompt[0], Mapping):
            messages: Any = prompt
            return await self._generator.encode_chat(messages)
        token_ids: Any = prompt
        return token_ids

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._events.is_closed():
            work.close()
            raise EngineFailed("this LLM is closed; make another one")
        future = asyncio.run_coroutine_threadsafe(work, self._events)
        try:
            return future.result()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            future.cancel()


async def _next(stream: AsyncIterator[TextDelta]) -> TextDelta | None:
    return await anext(stream, None)


def _defaults(config: ServeConfig, folder: Any) -> SamplingDefaults:
    is_off = config.source.generation_config == "off"
    return sampling_defaults({} if is_off else read_generation_config(folder))


def _body(params: SamplingParams) -> GenerationBody:
    given = {**asdict(params), "stop_token_ids": list(params.stop_token_ids)}
    given["stop"] = params.stop if isinstance(params.stop, str) else list(params.stop)
    try:
        body = GenerationBody.model_validate(given)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        message = f"{name} = {fault['input']!r}: {fault['msg']}"
        raise InvalidRequest(message, param=name) from None
    body.check()
    if params.logprobs is not None and params.logprobs < 0:
        raise InvalidRequest(f"logprobs is {params.logprobs}; ask for 0 or more", param="logprobs")
    return body


def _config(model: str | None, settings: Mapping[str, Any]) -> ServeConfig:
    classes: dict[str, Any] = {
        "source": ModelSource,
        "mesh": MeshConfig,
        "engine": EngineConfig,
        "speculation": SpeculationConfig,
    }
    sections: dict[str, dict[str, Any]] = {name: {} for name in classes}
    sections["source"]["model"] = model
    homes = {
        leaf.name: section
        for section, kind in classes.items()
        for leaf in fields(kind)
        if leaf.name not in SERVER_ONLY
    }
    for name, value in settings.items():
        if name not in homes:
            near = difflib.get_close_matches(name, homes, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(homes)}"
            raise ConfigError(f"LLM takes no {name}; {hint}")
        sections[homes[name]][name] = value
    return check_config(sections)
