"""What is a decoder made of?

The declared parts of a model, in our words, whatever its family calls them. Read from a checkpoint
by `families/`; knows nothing of config.json, weights or devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.recurrent.config import RecurrentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScaling:
    """Positions divided by `factor` (position interpolation, arXiv:2306.15595)."""

    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_len: int  # context of the pretraining, in tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class YarnScaling:
    """YaRN (arXiv:2309.00071): as Llama 3.1, but with the ramp over dimensions, and a softmax made
    sharper by `attention_factor`."""

    factor: float
    beta_fast: float
    beta_slow: float
    original_max_len: int
    attention_factor: float
    truncate: bool  # the ramp begins and ends at whole dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class LongScaling:
    """LongRoPE (arXiv:2402.13753): a divisor per frequency, one set for short contexts and one for
    those longer than `original_max_len`."""

    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    original_max_len: int
    attention_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionalScaling:
    """Gemma 4: only the fastest `fraction` of the frequencies turn, the others stand still."""

    fraction: float
    factor: float  # positions are divided by it


RopeScaling = LinearScaling | Llama3Scaling | YarnScaling | LongScaling | ProportionalScaling


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding (arXiv:2104.09864)."""

    theta: float
    scaling: RopeScaling | None = None
    fraction: float = 1.0  # of the head's numbers, from its start; the others are not turned
    interleaved: bool = False  # number 2i is turned with 2i + 1, not i with i + half
    query_growth: QueryGrowth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryGrowth:
    """Queries times `1 + beta log(1 + position // original_max_len)`, as Llama 4 has it."""

    beta: float
    original_max_len: int
    first: int = 0  # added to positions


@dataclass(frozen=True, slots=True, kw_only=True)
class NormConfig:
    """How vectors are normalised: to unit root mean square, or after taking their mean away."""

    eps: float
    centered: bool = False  # LayerNorm (arXiv:1607.06450), else RMSNorm (arXiv:1910.07467)
    weight: Literal["plain", "plus_one", "none"] = "plain"  # plus_one: stored less 1
    bias: bool = False
    rounds_first: bool = False  # to the input's type, before the weight is applied


@dataclass(frozen=True, slots=True, kw_only=True)
class QKNormConfig:
    """Queries and keys are normalised too, with the norm of the other layers.

    head: each head by itself, all with one weight. each_head: each by itself, with a weight per
    head. all_heads: as one vector.
    """

    over: Literal["head", "each_head", "all_heads"]
    after_rope: bool = False
    values: bool = False  # they too, each head by itself, without a weight
    weighted: bool = True
    where_turned: bool = False  # only in layers that turn heads


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertGroups:
    """Only experts of the best groups are chosen from (DeepSeek-V2, arXiv:2405.04434)."""

    num_groups: int  # of equal size, one after the other
    num_chosen: int
    num_judged_by: int  # a group is as good as its best experts, so many, together


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingConfig:
    """Which experts a token goes to, and how much each of them counts."""

    num_experts: int
    num_chosen: int
    scores: Literal["softmax", "sigmoid"] = "softmax"  # what becomes of the router's logits
    normalised: bool = False  # the scores of the chosen experts add up to 1
    multiplier: float = 1.0  # of the scores of the chosen experts
    bias: bool = False  # of the logits
    correction: bool = False  # added to scores to choose by; the scores stay (arXiv:2408.15664)
    groups: ExpertGroups | None = None
    margin: float | None = None  # chosen one by one as SparseMixer does (arXiv:2409.12136)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClampedGate:
    """`(up + 1) gate sigmoid(alpha gate)`, of numbers no larger than `limit`, as GPT-OSS has it."""

    alpha: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEConfig:
    """A mixture of experts (arXiv:1701.06538) in place of an MLP. Experts are gated MLPs."""

    routing: RoutingConfig
    mlp_dim: int  # of each expert
    bias: bool = False  # of the experts
    weighs_inputs: bool = False  # scores multiply what goes into an expert, not what comes out
    shared_mlp_dim: int | None = None  # of an MLP that every token goes through besides
    shared_gate: bool = False  # a sigmoid of the token weighs that MLP
    beside_mlp: bool = False  # the layer's MLP stays, and both have norms (`beside.py`)
    clamped: ClampedGate | None = None  # in place of the config's activation


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """Latent attention (arXiv:2405.04434): the keys and values of all heads are made from one
    vector per token, and a part of the key that rope turns is common to them."""

    kv_rank: int  # numbers of that vector
    q_rank: int | None  # of a like one for queries; None: they are made from the hidden state
    plain_dim: int  # numbers of each head's query and key that are not turned
    rope_dim: int  # and of those that are, after them
    value_dim: int  # numbers of each head's value
    eps: float  # of the norms of these vectors
    bias: bool = False  # of what makes these vectors, and of the output


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerConfig:
    """What may differ from layer to layer."""

    rope: RopeConfig | None  # None: the layer knows no positions but the causal mask
    window: int | None = None  # tokens a query sees, itself included; None: all before it
    chunk: int | None = None  # positions are cut into runs so long; a query sees its own run
    moe: MoEConfig | None = None  # None: one MLP for all tokens
    recurrent: RecurrentConfig | None = None  # a state in place of attention
    head_dim: int | None = None  # in place of the decoder's, as the next two
    num_kv_heads: int | None = None
    mlp_dim: int | None = None
    kv_from: int | None = None  # the layer whose keys and values it reads; None: it has its own
    values_are_keys: bool = False  # before norm and rope: one projection makes both

    @property
    def keeps_kv(self) -> bool:
        """Whether there are pages for this layer's keys and values."""
        return self.recurrent is None and self.kv_from is None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInputsConfig:
    """Every layer gets a vector of each token besides the hidden state, half from a table and half
    from the token's embedding (Gemma 3n)."""

    size: int
    vocab_size: int  # rows of the table


Block = Literal["pre_norm", "post_norm", "sandwich_norm", "parallel", "parallel_shared_norm"]
"""Where a layer normalises: what goes into attention and MLP, what comes out of them, or both;
or attention and MLP side by side, with a norm each or one for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The parts of a decoder. Hashable, so that it can be a static part of a module."""

    vocab_size: int  # rows of the embedding; a tokenizer may know fewer
    embed_dim: int
    mlp_dim: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    layers: tuple[LayerConfig, ...]
    norm: NormConfig
    activation: str  # a key of layers.ACTIVATIONS
    tied_embeddings: bool  # the embedding is the output projection too
    max_model_len: int  # most positions the model was made for, or is to be used with
    block: Block = "pre_norm"
    qk_norm: QKNormConfig | None = None
    latent: LatentConfig | None = None  # None: each KV head has keys and values of its own
    gated_mlp: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    output_bias: bool = False
    layer_inputs: LayerInputsConfig | None = None
    layer_multipliers: bool = False  # a stored number, times what comes out of a layer
    num_learned_positions: int | None = None  # rows of a position embedding added to the tokens'
    qkv_clip: float | None = None  # largest magnitude of a query's, key's or value's number
    attention_multiplier: float | None = None  # in place of head_dim ** -0.5
    attention_gate: bool = False  # a sigmoid of a projection weighs what heads give
    attention_sinks: bool = False  # each head has a score that weighs nothing (arXiv:2309.17453)
    attention_softcap: float | None = None  # c: scores become c tanh(score / c)
    logit_softcap: float | None = None
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0  # of what attention and MLP add
    logit_multiplier: float = 1.0

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def attention_scale(self) -> float:
        """What q k^T is multiplied with before the softmax."""
        if self.attention_multiplier is not None:
            return self.attention_multiplier
        return float(self.head_dim**-0.5)

    def kv_row(self, layer: LayerConfig) -> KVRow:
        """What `layer` keeps of every token."""
        latent = self.latent
        if latent is None:
            num_heads = layer.num_kv_heads or self.num_kv_heads
            return KVRow(num_heads=num_heads, head_dim=layer.head_dim or self.head_dim)
        kept = latent.kv_rank + latent.rope_dim
        return KVRow(num_heads=1, head_dim=kept, value_dim=latent.kv_rank)

    def rope_dim(self, layer: LayerConfig) -> int:
        """Numbers of a head that rope deals with in `layer`."""
        if self.latent is not None:
            return self.latent.rope_dim
        return layer.head_dim or self.head_dim
