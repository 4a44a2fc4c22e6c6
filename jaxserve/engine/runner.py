"""What runs on the device: one compiled program per bucket, called directly. The only jax.jit.

A program covers forward, sampling and the carry of the new tokens. All of them are compiled ahead
of time; after that nothing compiles, and a counter says so. The host reads tokens one step behind:
a token it does not know yet is taken from `DeviceState.last_tokens`, indexed by slot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxserve.engine.batch import (
    Packer,
    Words,
    mask_rows,
    num_words,
    slot_words,
    unpack,
    unpack_draw,
    unpack_verified,
)
from jaxserve.engine.buckets import Bucket, Buckets
from jaxserve.engine.commands import (
    Command,
    PlaceAdapters,
    RunStep,
    ScorePrompts,
    WriteMasks,
    WriteSlot,
)
from jaxserve.engine.compilations import CompilationCounter
from jaxserve.engine.computation import Computation
from jaxserve.engine.device_state import DeviceState, device_state
from jaxserve.engine.masks import num_mask_words
from jaxserve.engine.program_facts import attention_fact, model_facts, size_facts
from jaxserve.engine.programs import Programs
from jaxserve.engine.request import EngineLimits, Request
from jaxserve.engine.sampling import SlotTable, write_masks, write_slot
from jaxserve.engine.scoring import read_scores, score, targets_of
from jaxserve.engine.sizes import EngineSizes
from jaxserve.engine.step import Row, Step, StepResult
from jaxserve.models.adapters import Room, Tables, Weights, adapt, tables_of
from jaxserve.models.attention.interface import AttentionBackend, row_of_token
from jaxserve.models.loading import LoadedModel
from jaxserve.sharding.putting import put


@dataclass(frozen=True, slots=True)
class InFlight:
    """A step that was dispatched and not read yet."""

    step: Step
    draw: jax.Array
    scores: jax.Array | None  # when a row of the step wants its prompt scored


class Runner:
    """Owns the device state and the programs. Not thread-safe: the engine loop's alone."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        attention: AttentionBackend,
        mesh: Mesh,
        sizes: EngineSizes,
        limits: EngineLimits,
        dtype: jnp.dtype,
        kv_dtype: jnp.dtype | None = None,
        room: Room | None = None,
    ):
        """`dtype` is that of hidden states, and of the KV cache without a `kv_dtype`. `room` is
        that for adapters; without it there are none."""
        self._model = model
        self._mesh = mesh
        self.room = room
        self._tables: Tables = {}
        self._dtype = dtype
        self._kv_dtype = kv_dtype
        self._attention = attention
        self._sizes = sizes
        self._limits = limits
        self._mask_width = num_mask_words(model.config.vocab_size)  # words
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self.buckets = Buckets.build(
            max_rows=sizes.max_batch_size,
            token_budget=sizes.token_budget,
            min_rows=_min_rows(dtype, mesh),
            num_draft_tokens=sizes.num_draft_tokens,
            greedy_apart=_conditions_wait(mesh),
        )
        self._compute = Computation(attention, sizes, limits, self._replicated)
        packer = Packer(num_slots=sizes.max_batch_size, pages_per_seq=sizes.pages_per_seq)
        self._pack = jax.profiler.annotate_function(packer.pack, name="pack")
        self._programs: dict[Bucket, Any] = {}
        self._scorings: dict[Bucket, Any] = {}  # of prompts, from a mixed program's hidden states
        self._set_masks: dict[int, Any] = {}  # by how many at most
        self._compilations = CompilationCounter()
        self._order = threading.Lock()  # commands are told in the order they are carried out
        self._tell: Callable[[Command], None] = lambda _: None
        self._hidden: jax.Array | None = None  # [T, D], from the step run last
        build, self._shardings = device_state(
            model.config, attention, mesh, sizes=sizes, dtype=dtype, kv_dtype=kv_dtype
        )
        self.state = self.make_state(build, self._shardings)
        if room is not None:
            self._tables = self._make_tables({}, room)

    def make_state(self, build: Callable[[], DeviceState], shardings: Any) -> DeviceState:
        """Make what lies on the devices from step to step."""
        made: DeviceState = jax.jit(build, out_shardings=shardings)()
        return made

    @property
    def num_compiled_after_ready(self) -> int:
        """Compilations since `warm_up` ended, by anything in the process; stays 0."""
        return self._compilations.count

    @property
    def num_programs(self) -> int:
        return len(self.buckets.all) + len(self.buckets.mixed) + len(self.buckets.decode) + 1

    def warm_up(
        self,
        *,
        threads: int = 2,
        on_compiled: Callable[[str, float], None] = lambda *_: None,
        programs: Programs | None = None,
    ) -> None:
        """Get every program, from `programs` if given, and run them on idle rows.

        `on_compiled` is told a program's name and the seconds it took.
        """
        kept, facts = programs or Programs(), self._facts()

        def get(name: str, lower: Callable[[], jax.stages.Lowered]) -> Any:
            started = time.perf_counter()
            program = kept.get(name, facts, lower)
            on_compiled(name, time.perf_counter() - started)
            return program

        with ThreadPoolExecutor(threads) as pool:
            steps = {b: pool.submit(get, str(b), partial(self.lower, b)) for b in self.buckets.all}
            scorings = {
                b: pool.submit(get, f"score {b.num_tokens}", partial(self._lower_scoring, b))
                for b in self.buckets.mixed
            }
            masks = {
                b.num_rows: pool.submit(
                    get, f"masks {b.num_rows}", partial(self._lower_set_masks, b.num_rows)
                )
                for b in self.buckets.decode
            }
            self._set_slot = pool.submit(get, "slot", self._lower_set_slot).result()
            self._programs = {bucket: got.result() for bucket, got in steps.items()}
            self._scorings = {bucket: got.result() for bucket, got in scorings.items()}
            self._set_masks = {num_rows: got.result() for num_rows, got in masks.items()}
        self._run_idle()
        self._compilations.start()

    def _run_idle(self) -> None:
        """Run programs once: on a CPU the smallest of each kind, as there is nothing to load."""
        idle, on_cpu = Step(()), self._mesh.devices.flat[0].platform == "cpu"
        buckets = self.buckets
        kinds = (buckets.decode, buckets.mixed, buckets.verify, buckets.greedy)
        smallest = [kind[0] for kind in kinds if kind]
        for index, bucket in enumerate(self.buckets.all):
            if on_cpu and bucket not in smallest:
                continue
            jax.block_until_ready(self.do(RunStep(index, self._pack(idle, bucket))))
            if bucket.hands_states_out:
                targets = targets_of(idle, bucket.num_tokens)
                jax.block_until_ready(self.do(ScorePrompts(index, targets)))

    def _facts(self) -> dict[str, str]:
        """What all programs depend on that is this runner's own."""
        limits = self._limits
        return {
            **model_facts(self._model),
            **size_facts(self._sizes),
            "dtype": f"{self._dtype}, KV {self._kv_dtype or self._dtype}",
            "attention": attention_fact(self._attention),
            "vocab_size": f"{limits.vocab_size}, {limits.max_logprobs} likeliest told",
            "adapters": str(self.room),
        }

    def lead(self, tell: Callable[[Command], None]) -> None:
        """Tell every command from now on, before it is carried out, for other hosts to follow.

        Each of them has a runner like this one, warmed up, and calls `do` in the same order.
        """
        self._tell = tell

    def do(self, command: Command) -> jax.Array | None:
        """Carry a command out on this host's devices; what it gives, without waiting for it."""
        match command:
            case RunStep(index, words):
                return self._run(self.buckets.all[index], words)
            case ScorePrompts(index, targets):
                return self._score(self.buckets.all[index], targets)
            case WriteSlot(slot, words):
                self._write(self._set_slot, np.array(slot, np.int32), words)
            case WriteMasks(words):
                self._write(self._set_masks[len(words)], words)
            case PlaceAdapters(adapters):
                assert self.room is not None, "there is no room for adapters"
                self._tables = self._make_tables(adapters, self.room)
        return None

    def set_adapters(self, adapters: Mapping[int, Weights]) -> None:
        """Put adapters into their places, counted from 0, for the steps from now on.

        May be called from any thread: steps take the tables as a whole.
        """
        assert self.room is not None, "there is no room for adapters"
        tables = self._make_tables(adapters, self.room)
        with self._order:
            self._tell(PlaceAdapters(adapters))
            self._tables = tables

    def close(self) -> None:
        """Stop counting compilations; the device state goes with the object."""
        self._compilations.stop()

    def dispatch(self, step: Step) -> InFlight:
        """Start a step and return without waiting for it."""
        for row in step.rows:
            if row.takes_slot and row.request.params.needs_slot_table:
                self._write_slot(row.slot, row.request)
        self._write_masks([row for row in step.rows if row.samples and row.request.mask])
        bucket = self.buckets.smallest(step)
        index = self.buckets.all.index(bucket)
        draw = self._give(RunStep(index, self._pack(step, bucket)))
        if not step.scores_prompts:
            return InFlight(step, draw, None)
        targets = targets_of(step, bucket.num_tokens)
        return InFlight(step, draw, self._give(ScorePrompts(index, targets)))

    def collect(self, in_flight: InFlight) -> StepResult:
        """Wait for a step and read what it drew."""
        draw = np.asarray(in_flight.draw)
        if in_flight.step.verifies:
            return unpack_verified(draw, in_flight.step)
        sampled = unpack_draw(draw, in_flight.step)
        if in_flight.scores is None:
            return StepResult(sampled)
        return StepResult(sampled, read_scores(np.asarray(in_flight.scores), in_flight.step))

    def _issue(self, command: Command) -> jax.Array | None:
        with self._order:
            self._tell(command)
            return self.do(command)

    def _give(self, command: Command) -> jax.Array:
        given = self._issue(command)
        assert given is not None, f"{type(command).__name__} gives something"
        given.copy_to_host_async()
        return given

    def _run(self, bucket: Bucket, words: Words) -> jax.Array:
        """The packed draw; a mixed program's last hidden states stay for `_score`."""
        self.state, draw, self._hidden = self._programs[bucket](
            self._model.params, self._tables, self.state, put(words, self._replicated)
        )
        return draw

    def _score(self, bucket: Bucket, targets: Words) -> jax.Array:
        on_device = put(targets, self._replicated)
        scores: jax.Array = self._scorings[bucket](self._model.params, self._hidden, on_device)
        return scores

    def _write(self, program: Any, *arrays: Words) -> None:
        on_device = [put(array, self._replicated) for array in arrays]
        self.state = self.state._replace(slots=program(self.state.slots, *on_device))

    def _make_tables(self, adapters: Mapping[int, Weights], room: Room) -> Tables:
        model = self._model.merge(self._model.params)
        return tables_of(model, adapters, room, dtype=self._dtype, mesh=self._mesh)

    def _write_slot(self, slot: int, request: Request) -> None:
        stops = self._limits.eos_token_ids | request.params.stop_token_ids
        words = slot_words(request, self._model.config.vocab_size, stops)
        self._issue(WriteSlot(slot, words))

    def _write_masks(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        masks = [(row.slot, row.request.mask or b"") for row in rows]
        size = min(size for size in self._set_masks if size >= len(masks))
        words = mask_rows(
            masks, size=size, num_slots=self._sizes.max_batch_size, width=self._mask_width
        )
        self._issue(WriteMasks(words))

    def lower(self, bucket: Bucket) -> jax.stages.Lowered:
        """The program of a step, before it is compiled."""

        def step(
            params: tuple[jax.Array, ...], tables: Tables, state: DeviceState, words: jax.Array
        ) -> tuple[DeviceState, jax.Array, jax.Array | None]:
            inputs = unpack(words, bucket, self._sizes.pages_per_seq)
            model = self._model.merge(params)
            if self.room is not None:
                row = row_of_token(inputs.attention.cu_q_lens, bucket.num_tokens)
                adapt(model, tables, self.room, inputs.adapters[row])
            return self._compute(model, state, inputs, bucket)

        step.__name__ = str(bucket).replace(" ", "_")  # so that a trace tells programs apart
        words = self._replicated_shape(num_words(bucket, self._sizes.pages_per_seq))
        hidden_sharding = self._replicated if bucket.hands_states_out else None
        shardings = (self._shardings, self._replicated, hidden_sharding)
        jitted = jax.jit(step, donate_argnums=2, out_shardings=shardings)
        return jitted.lower(self._model.params, self._tables, self.state, words)

    def _lower_scoring(self, bucket: Bucket) -> jax.stages.Lowered:
        def score_prompts(
            params: tuple[jax.Array, ...], hidden: jax.Array, targets: jax.Array
        ) -> jax.Array:
            model = self._model.merge(params)
            return score(
                hidden,
                targets,
                lambda states: self._compute.logits(model, states),
                num_valid=self._limits.vocab_size,
                max_logprobs=self._limits.max_logprobs,
            )

        size = (bucket.num_tokens, self._model.config.embed_dim)
        hidden = self._replicated_shape(*size, dtype=self._dtype)
        targets = self._replicated_shape(bucket.num_tokens)
        jitted = jax.jit(score_prompts, out_shardings=self._replicated)
        return jitted.lower(self._model.params, hidden, targets)

    def _lower_set_slot(self) -> jax.stages.Lowered:
        return self._compile_write(write_slot, (), (4, self._model.config.vocab_size))

    def _lower_set_masks(self, num_rows: int) -> jax.stages.Lowered:
        return self._compile_write(write_masks, (num_rows, 1 + self._mask_width))

    def _compile_write(self, write: Callable[..., SlotTable], *shapes: tuple[int, ...]) -> Any:
        """A program that changes the slot table by i32 arrays of `shapes`; donates it."""
        arrays = [self._replicated_shape(*shape) for shape in shapes]
        jitted = jax.jit(write, donate_argnums=0, out_shardings=self._replicated)
        return jitted.lower(self.state.slots, *arrays)

    def _replicated_shape(self, *shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._replicated)


def _conditions_wait(mesh: Mesh) -> bool:
    """On a GPU the host waits for what a program's conditional depends on before it goes on, so
    that no step can be started while one with a conditional runs."""
    return mesh.devices.flat[0].platform == "gpu"


def _min_rows(dtype: jnp.dtype, mesh: Mesh) -> int:
    """One row of a bfloat16 product falls off XLA's fast path on a CPU; two do not."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return 2 if on_cpu and dtype == jnp.bfloat16 else 1
