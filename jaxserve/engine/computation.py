"""What does a step compute on the device? Forward, logits where they are needed, draws, the carry.

Traced into the program of each bucket; the runner compiles them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxserve.engine.batch import CARRIED, Inputs, pack_draw
from jaxserve.engine.buckets import Bucket
from jaxserve.engine.device_state import DeviceState
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.sampling import Draw, count_tokens, likeliest, sample
from jaxserve.engine.sizes import EngineSizes
from jaxserve.engine.verifying import drafts_until, reached
from jaxserve.models.attention.interface import AttentionBackend, row_of_token
from jaxserve.models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Computation:
    """The body of every step's program, in an engine of these sizes."""

    attention: AttentionBackend
    sizes: EngineSizes
    limits: EngineLimits
    replicated: NamedSharding

    def __call__(
        self, model: Decoder, state: DeviceState, inputs: Inputs, bucket: Bucket
    ) -> tuple[DeviceState, jax.Array, jax.Array | None]:
        """The state after the step, the packed draw, and the hidden states if they are handed out.

        Donates `state`.
        """
        cu_q_lens = inputs.attention.cu_q_lens
        carried = state.last_tokens[inputs.slots[row_of_token(cu_q_lens, bucket.num_tokens)]]
        hidden, cache = model(
            jnp.where(inputs.tokens == CARRIED, carried, inputs.tokens),
            state.cache,
            inputs.attention,
            attention=self.attention,
            one_token_per_row=bucket.one_token_per_row,
        )
        with jax.named_scope("logits"):
            last = (cu_q_lens[1:] - 1).clip(0)
            logits = self.logits(model, hidden if bucket.verifies else hidden[last])
        with jax.named_scope("sample"):
            draw, state = self._take(bucket)(logits, state, inputs)
        states = hidden if bucket.hands_states_out else None
        return state._replace(cache=cache), pack_draw(draw), states

    def logits(self, model: Decoder, hidden: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(model.logits(hidden), self.replicated)

    def _take(self, bucket: Bucket) -> Callable[..., tuple[Draw, DeviceState]]:
        if bucket.greedy:
            return self._draw_likeliest
        return self._verify if bucket.verifies else self._draw

    def _draw_likeliest(
        self, logits: jax.Array, state: DeviceState, inputs: Inputs
    ) -> tuple[Draw, DeviceState]:
        """A token for each row, none of which asks for anything else."""
        limits = self.limits
        draw = likeliest(logits, num_valid=limits.vocab_size, max_logprobs=limits.max_logprobs)
        return draw, self._carry(draw, state, inputs)

    def _draw(
        self, logits: jax.Array, state: DeviceState, inputs: Inputs
    ) -> tuple[Draw, DeviceState]:
        """A token for each row."""
        draw = self._sample(logits, state, inputs)
        counted = inputs.samples & inputs.sampling.counts_tokens
        table = count_tokens(state.slots, draw.tokens, inputs.draw_slots, counted)
        return draw, self._carry(draw, state._replace(slots=table), inputs)

    def _carry(self, draw: Draw, state: DeviceState, inputs: Inputs) -> DeviceState:
        """With the tokens that the next step begins with, which the host has not seen yet."""
        slot = jnp.where(inputs.samples, inputs.draw_slots, self.sizes.max_batch_size)
        last_tokens = state.last_tokens.at[slot].set(draw.tokens, mode="drop")
        return state._replace(last_tokens=last_tokens)

    def _verify(
        self, logits: jax.Array, state: DeviceState, inputs: Inputs
    ) -> tuple[Draw, DeviceState]:
        """A token after each token; those after wrong drafts do not count.

        None is carried: the host plans nothing more of these rows before it knows their tokens.
        """
        tokens, cu_q_lens = inputs.tokens, inputs.attention.cu_q_lens
        drafted = drafts_until(tokens, cu_q_lens, self.sizes.num_draft_tokens)
        draw = self._sample(logits, state, inputs, drafted)
        counted = inputs.samples & inputs.sampling.counts_tokens
        counted &= reached(tokens, cu_q_lens, draw.tokens, draw.finite)
        table = count_tokens(state.slots, draw.tokens, inputs.draw_slots, counted)
        return draw, state._replace(slots=table)

    def _sample(
        self,
        logits: jax.Array,
        state: DeviceState,
        inputs: Inputs,
        drafted: jax.Array | None = None,
    ) -> Draw:
        return sample(
            logits,
            inputs.sampling,
            inputs.draw_slots,
            state.slots,
            num_valid=self.limits.vocab_size,
            max_logprobs=self.limits.max_logprobs,
            drafted=drafted,
        )
