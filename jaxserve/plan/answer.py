"""What does a model need on a machine, what fits, and how fast can it be at most?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxserve.errors import ConfigError
from jaxserve.models.attention.interface import PagedBackend
from jaxserve.models.attention.registry import choose
from jaxserve.models.attention_demands import demands_of
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.loading import LoadedModel, describe_model
from jaxserve.plan.devices import compile_devices
from jaxserve.plan.hardware import Machine, larger
from jaxserve.plan.programs import Program, TooLarge, compile_largest, device_bytes, state_bytes
from jaxserve.plan.question import Question
from jaxserve.sharding.axes import TENSOR
from jaxserve.sharding.mesh import make_mesh

_FEWEST_PAGES = 8
INT8 = jnp.dtype("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The most that the devices' bandwidth and arithmetic allow, in tokens a second."""

    decode: float  # all requests at their full context
    decode_limit: str  # bandwidth or arithmetic
    prefill: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one device of a machine needs; byte counts are per device."""

    machine: str
    num_devices: int
    compiled: str  # exact, or an upper bound
    attention: str
    context: int
    concurrency: int
    usable_bytes: int
    weights_bytes: int
    kv_bytes_per_token: int
    other_bytes: int  # tables of the slots, state of layers that keep one
    programs: tuple[Program, ...]
    largest_concurrency: int  # at this context
    largest_context: int  # at this concurrency
    roofline: Roofline | None
    refusal: str = ""  # why no pool, or not the one that is wanted, was compiled
    changes: tuple[str, ...] = ()  # that would make it fit, the cheapest first

    @property
    def worst(self) -> Program | None:
        return max(self.programs, key=lambda program: program.extra_bytes, default=None)

    @property
    def kv_bytes(self) -> int:
        """Of every request at its full context."""
        return self.concurrency * self.context * self.kv_bytes_per_token

    @property
    def needed_bytes(self) -> int:
        extra = self.worst.extra_bytes if self.worst else 0
        return self.weights_bytes + self.kv_bytes + self.other_bytes + extra

    @property
    def fits(self) -> bool:
        return not self.refusal and self.needed_bytes <= self.usable_bytes


@dataclass(frozen=True, slots=True)
class _Parts:
    """A model laid out on a machine, described only."""

    model: LoadedModel
    attention: PagedBackend
    mesh: Mesh
    weights_bytes: int
    kv_bytes_per_token: int
    other_bytes: int
    context: int


def answer(question: Question, machine: Machine) -> Answer:
    """Compile the model's largest programs for `machine` and count.

    Raises ConfigError for a model that the machine's devices do not divide, or a machine whose
    compiler is not installed.
    """
    devices = compile_devices(machine)
    compiled = "exact" if devices is not None else "upper bound: compiled by the CPU's compiler"
    parts = _laid_out(question, machine, devices or jax.devices("cpu"))
    question = replace(question, context=parts.context)
    left = machine.device.usable_bytes - parts.weights_bytes - parts.other_bytes
    page_bytes = max(parts.kv_bytes_per_token * question.page_size, 1)
    wanted = question.concurrency * math.ceil(parts.context / question.page_size)
    fitting = int(left * 0.7) // page_bytes
    programs: list[Program] = []
    refusal = "the weights alone do not fit" if left < _FEWEST_PAGES * page_bytes else ""
    if not refusal:
        programs, refusal = _compiled(question, parts, max(min(wanted, fitting), _FEWEST_PAGES))
    free = left - max((program.extra_bytes for program in programs), default=0)
    tokens = max(free, 0) // page_bytes * question.page_size if programs else 0
    found = Answer(
        machine=machine.name,
        num_devices=machine.num_devices,
        compiled=compiled,
        attention=parts.attention.name,
        context=parts.context,
        concurrency=question.concurrency,
        usable_bytes=machine.device.usable_bytes,
        weights_bytes=parts.weights_bytes,
        kv_bytes_per_token=parts.kv_bytes_per_token,
        other_bytes=parts.other_bytes,
        programs=tuple(programs),
        largest_concurrency=tokens // parts.context,
        largest_context=min(tokens // question.concurrency, parts.model.config.max_model_len),
        roofline=_roofline(question, parts, machine, programs),
        refusal=refusal,
    )
    return (
        found if found.fits else replace(found, changes=tuple(_changes(question, machine, found)))
    )


def _compiled(question: Question, parts: _Parts, num_pages: int) -> tuple[list[Program], str]:
    """The largest programs, and the compiler's refusal of so many pages where it refused them.

    Temporaries hardly depend on the pool: with the fewest pages a refusal still tells them, and
    what would fit can count them.
    """
    refusal = ""
    for pages in dict.fromkeys((num_pages, _FEWEST_PAGES)):
        try:
            programs = compile_largest(
                question, parts.model, parts.attention, parts.mesh, num_pages=pages
            )
            return programs, refusal
        except TooLarge as error:
            refusal = refusal or str(error)
    return [], refusal


def _laid_out(question: Question, machine: Machine, devices: object) -> _Parts:
    mesh = make_mesh(tensor_parallel=machine.num_devices, devices=devices)  # type: ignore[arg-type]
    model = describe_model(
        question.folder,
        dtype=question.dtype,
        mesh=mesh,
        max_model_len=question.context,
        quantize=question.quantize,
    )
    if question.context and question.context > model.config.max_model_len:
        raise ConfigError(
            f"context = {question.context}, and the model's is {model.config.max_model_len}"
        )
    demands = demands_of(
        model.config,
        dtype=question.dtype,
        kv_dtype=question.kv_dtype,
        page_size=question.page_size,
        device=mesh.devices.flat[0],
        tensor_parallel=mesh.shape[TENSOR],
    )
    attention = choose("auto", demands, mesh, checks=False).backend
    state = state_bytes(question, model, attention, mesh, num_pages=_FEWEST_PAGES)
    per_token = bytes_per_token(model.config, question.kv_dtype, attention=attention, mesh=mesh)
    return _Parts(
        model=model,
        attention=attention,
        mesh=mesh,
        weights_bytes=device_bytes(model.params),
        kv_bytes_per_token=per_token,
        other_bytes=state - per_token * _FEWEST_PAGES * question.page_size,
        context=model.config.max_model_len,
    )


def _roofline(
    question: Question, parts: _Parts, machine: Machine, programs: list[Program]
) -> Roofline | None:
    device = machine.device
    if not programs or not device.flops:
        return None
    decode, mixed = programs
    read = parts.weights_bytes + question.concurrency * parts.context * parts.kv_bytes_per_token
    by_bandwidth, by_flops = read / device.bandwidth, decode.flops / device.flops
    seconds = max(mixed.flops / device.flops, parts.weights_bytes / device.bandwidth)
    return Roofline(
        decode=question.concurrency / max(by_bandwidth, by_flops),
        decode_limit="bandwidth" if by_bandwidth >= by_flops else "arithmetic",
        prefill=mixed.num_tokens / seconds,
    )


def _changes(question: Question, machine: Machine, found: Answer) -> Iterator[str]:
    """Single changes that would make it fit, by arithmetic: what costs no quality first."""
    extra = found.worst.extra_bytes if found.worst else 0
    budget = found.usable_bytes - found.other_bytes - extra
    left = budget - found.weights_bytes
    if 0 < left < found.kv_bytes:
        tokens = left // found.kv_bytes_per_token
        if tokens // found.context:
            yield f"--concurrency {tokens // found.context}"
        if tokens // found.concurrency >= question.page_size:
            yield f"--context {tokens // found.concurrency}"
    if question.kv_dtype != INT8 and found.weights_bytes + found.kv_bytes // 2 <= budget:
        yield "--kv-cache-dtype int8: half the KV cache"
    for quantize in ("int8", "int4"):
        if question.quantize is None:
            changed = replace(question, quantize=quantize)
            weights = _weights_bytes(changed, machine)
            if weights + found.kv_bytes <= budget:
                yield f"--quantize {quantize}: weights of {weights / 1e9:.2f} GB a device"
                break
    for machine_ in larger(machine):
        weights = found.weights_bytes * machine.num_devices // machine_.num_devices
        kv_bytes = found.kv_bytes * machine.num_devices // machine_.num_devices
        if weights + kv_bytes + found.other_bytes + extra <= found.usable_bytes:
            yield f"--on {machine_.name}: a share of everything on each of {machine_.num_devices}"
            break


def _weights_bytes(question: Question, machine: Machine) -> int:
    devices = compile_devices(machine) or jax.devices("cpu")
    mesh = make_mesh(tensor_parallel=machine.num_devices, devices=devices)
    model = describe_model(
        question.folder, dtype=question.dtype, mesh=mesh, quantize=question.quantize
    )
    return device_bytes(model.params)
