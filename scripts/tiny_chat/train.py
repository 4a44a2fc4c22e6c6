"""How are the weights trained?

Muon on rows of three lengths: short rows hold single questions, long rows tools and chats. The
schedule counts steps, never time, so that a busy machine makes the same weights, later.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import sentencepiece

from .batches import Batch, Packer, encode
from .conversations import Segments
from .model import Params, Shape, hidden_states, logits
from .texts import long_texts, short_texts

LONGEST = 1024
NUM_WARMUP_STEPS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A warm-up and a straight line down to zero, on text of its own."""

    steps: int
    peak_rate: float
    repeated: float  # share of short texts that only repeat words
    late: float  # share of texts with wordings from later.py
    intermediate_size: int  # of the MLPs, which may only grow from cycle to cycle
    batch_tokens: int = 2048
    weight_decay: float = 0.05


CYCLES = (
    Cycle(steps=2400, peak_rate=1.5e-3, repeated=0.12, late=0.0, intermediate_size=768),
    Cycle(steps=1200, peak_rate=1.2e-3, repeated=0.08, late=0.4, intermediate_size=1152),
)


def batches(
    tokenizer: sentencepiece.SentencePieceProcessor, cycle: Cycle, seed: int
) -> Iterator[Batch]:
    """Yield batches: of sixteen, ten are short, five hold tools, one a chat of 1024 tokens."""

    def packer(texts: Iterator[Segments], length: int) -> Packer:
        source = (encode(tokenizer, pieces) for pieces in texts)
        return Packer(source, cycle.batch_tokens // length, length)

    short = packer(short_texts(seed, cycle.repeated, cycle.late), 160)
    tools = packer(long_texts(seed, 8, cycle.late), 384)
    chats = packer(long_texts(seed, 40), LONGEST)
    while True:
        for place in range(16):
            yield (chats if place == 15 else tools if place % 3 == 2 else short).next()


def row_mask(owners: jax.Array) -> jax.Array:
    """Let a token see the earlier tokens of its own conversation: bool[B, T, T]."""
    same = owners[:, :, None] == owners[:, None, :]
    return same & jnp.tril(jnp.ones(same.shape[1:], bool))


def loss(params: Params, batch: dict[str, jax.Array], shape: Shape) -> jax.Array:
    """Average the cross-entropy over the learned tokens only; logits exist for no others."""
    mask = row_mask(batch["owners"])
    states, _ = hidden_states(params, batch["ids"], batch["positions"], mask, shape)
    picked = states.reshape(-1, shape.hidden_size)[batch["targets"]]
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(params, picked), batch["labels"]
    )
    return jnp.sum(losses * batch["weights"]) / jnp.sum(batch["weights"])


def optimizer(cycle: Cycle) -> optax.GradientTransformation:
    """Muon for the layers' matrices, Adam at half the rate for embedding and norms.

    The rate warms up and then falls to zero in a straight line. Muon (Jordan et al. 2024) because
    its loss after 150 steps here was lower than AdamW's at the same number of tokens.
    """

    def rate(peak: float) -> optax.Schedule:
        up = optax.linear_schedule(0.0, peak, NUM_WARMUP_STEPS)
        down = optax.linear_schedule(peak, 0.0, cycle.steps - NUM_WARMUP_STEPS)
        return optax.join_schedules([up, down], [NUM_WARMUP_STEPS])

    def matrices(params: Params) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
        numbers = optax.contrib.MuonDimensionNumbers()
        return {name: numbers if "_proj" in name else None for name in params}

    muon = optax.contrib.muon(
        rate(cycle.peak_rate),
        weight_decay=cycle.weight_decay,
        adam_learning_rate=rate(cycle.peak_rate),
        adam_b2=0.98,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=matrices,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), muon)


def train(
    params: Params,
    shape: Shape,
    cycle: Cycle,
    stream: Iterator[Batch],
    after_step: Callable[[int, Params], None],
) -> dict[str, jax.Array]:
    """Train for one cycle; calls `after_step(steps done, weights)` after every step.

    Donates `params`. Returns weights that bfloat16 can hold: a saved folder is then all that the
    next cycle needs, and what is measured is what is saved.
    """
    update = optimizer(cycle)
    state = update.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(
        params: dict[str, jax.Array], state: optax.OptState, batch: dict[str, jax.Array]
    ) -> tuple[dict[str, jax.Array], optax.OptState, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, batch, shape)
        changes, state = update.update(grads, state, params)
        return optax.apply_updates(params, changes), state, value

    progress = Progress(cycle.steps)
    for step in range(1, cycle.steps + 1):
        batch = next(stream)
        params, state, value = advance(params, state, dataclasses.asdict(batch))
        progress.report(step, value, int((batch.owners >= 0).sum()))
        after_step(step, params)
    return rounded(params)


def rounded(params: Params) -> dict[str, jax.Array]:
    return {name: value.astype(jnp.bfloat16).astype(jnp.float32) for name, value in params.items()}


class Progress:
    """Prints loss, tokens per second and the time left, every 50 steps."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps
        self.started = self.since = time.monotonic()
        self.losses: list[jax.Array] = []
        self.num_tokens = 0

    def report(self, step: int, loss: jax.Array, num_tokens: int) -> None:
        self.losses.append(loss)
        self.num_tokens += num_tokens
        if step % 50 and step != self.num_steps:
            return
        average = sum(map(float, self.losses)) / len(self.losses)
        now = time.monotonic()
        rate = self.num_tokens / (now - self.since)
        left_s = (now - self.started) / step * (self.num_steps - step)
        print(
            f"step {step}/{self.num_steps}  loss {average:.4f}  {rate:.0f} tokens/s  "
            f"{left_s / 60:.1f} min left",
            flush=True,
        )
        self.since, self.num_tokens = now, 0
        self.losses.clear()
