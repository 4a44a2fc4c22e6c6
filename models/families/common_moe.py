"""What do most families with experts have in common?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from jaxserve.models.config import LayerConfig, MoEConfig
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, fused, tensor

_TRAINING = "only training uses it"

IGNORED = {
    "output_router_logits": "what transformers hands back, not what it computes",
    "router_aux_loss_coef": _TRAINING,
    "router_jitter_noise": _TRAINING,
}

ROUTER: Modules = {"model.layers.*.mlp.gate": "layers.*.mlp.router"}

EACH_EXPERT: Modules = {
    "model.layers.*.mlp.experts.*.gate_proj": "layers.*.mlp.experts.gate_proj",
    "model.layers.*.mlp.experts.*.up_proj": "layers.*.mlp.experts.up_proj",
    "model.layers.*.mlp.experts.*.down_proj": "layers.*.mlp.experts.down_proj",
}
"""As files are released, and as save_pretrained writes them."""

STACKED_EXPERTS: Modules = {
    "model.layers.*.mlp.experts.gate_up_proj": tensor(
        fused("layers.*.mlp.experts.gate_proj.weight", "layers.*.mlp.experts.up_proj.weight")
    ),
    "model.layers.*.mlp.experts.down_proj": tensor("layers.*.mlp.experts.down_proj.weight"),
}
"""As transformers holds them, and writes them when told to keep its own format."""

EXPERTS: Modules = {**ROUTER, **EACH_EXPERT, **STACKED_EXPERTS}

EACH_EXPERT_OF_MIXTRAL: Modules = {
    "model.layers.*.block_sparse_moe.experts.*.w1": "layers.*.mlp.experts.gate_proj",
    "model.layers.*.block_sparse_moe.experts.*.w3": "layers.*.mlp.experts.up_proj",
    "model.layers.*.block_sparse_moe.experts.*.w2": "layers.*.mlp.experts.down_proj",
}

EXPERTS_OF_MIXTRAL: Modules = {
    "model.layers.*.block_sparse_moe.gate": "layers.*.mlp.router",
    **EACH_EXPERT_OF_MIXTRAL,
    **EXPERTS,
}


def read_either(raw: ConfigReader, names: tuple[str, str], default: int) -> int:
    """A whole number that files spell in either of two ways; both may be there if they agree."""
    first, second = names
    if not raw.has(first):
        return raw.integer(second, default)
    number = raw.integer(first)
    if raw.has(second) and raw.integer(second) != number:
        raise raw.wrong(second, raw.integer(second), f"{number}, as {first} is")
    return number


def read_num_chosen(raw: ConfigReader, name: str, *, num_experts: int) -> int:
    """To how many experts a token goes."""
    num_chosen = raw.integer(name)
    if num_chosen > num_experts:
        raise raw.wrong(name, num_chosen, f"at most the number of experts, {num_experts}")
    return num_chosen


def with_experts(
    layers: Iterable[LayerConfig], moe: MoEConfig, *, sparse: Iterable[int]
) -> tuple[LayerConfig, ...]:
    """`layers`, with experts in those whose numbers are in `sparse`."""
    numbers = frozenset(sparse)
    return tuple(
        replace(layer, moe=moe) if index in numbers else layer for index, layer in enumerate(layers)
    )
