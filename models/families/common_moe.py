"""What do most families with experts have in common?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from jaxserve.models.config import ExpertGroups, LayerConfig, MoEConfig, RoutingConfig
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

SHARED_EXPERTS: Modules = {
    f"model.layers.*.mlp.shared_experts.{name}": f"layers.*.mlp.shared_expert.{name}"
    for name in ("gate_proj", "up_proj", "down_proj")
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


def read_sparse_layers(raw: ConfigReader) -> set[int]:
    """The layers with experts, as Qwen names them: one in so many, but for some left out."""
    every = raw.integer("decoder_sparse_step", 1)
    chosen = range(every - 1, raw.integer("num_hidden_layers"), every)
    return set(chosen) - set(raw.indices("mlp_only_layers"))


def read_routing(raw: ConfigReader, **kind: Any) -> RoutingConfig:
    """To which experts a token goes, as DeepSeek names it, beyond what `kind` says."""
    num_experts = raw.integer("n_routed_experts")
    return RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        multiplier=raw.number("routed_scaling_factor", 1.0),
        **kind,
    )


def read_groups(raw: ConfigReader, *, num_judged_by: int) -> ExpertGroups | None:
    """Out of which groups experts are chosen; None where all groups are, or the one there is."""
    num_experts, num_groups = raw.integer("n_routed_experts"), raw.integer("n_group", 1)
    num_chosen = raw.integer("topk_group", 1)
    if num_experts % num_groups or num_experts // num_groups < num_judged_by:
        wanted = f"a divisor of the {num_experts} experts, with {num_judged_by} or more in a group"
        raise raw.wrong("n_group", num_groups, wanted)
    if num_chosen > num_groups:
        raise raw.wrong("topk_group", num_chosen, f"at most n_group, {num_groups}")
    if num_chosen == num_groups:
        return None
    return ExpertGroups(num_groups=num_groups, num_chosen=num_chosen, num_judged_by=num_judged_by)


def read_corrected_moe(raw: ConfigReader) -> MoEConfig:
    """Experts as DeepSeek-V3 has them: chosen by corrected sigmoids, from the best groups."""
    mlp_dim = raw.integer("moe_intermediate_size")
    routing = read_routing(
        raw,
        scores="sigmoid",
        normalised=raw.flag("norm_topk_prob", True),
        correction=True,
        groups=read_groups(raw, num_judged_by=2),
    )
    shared = raw.integer("n_shared_experts") * mlp_dim
    return MoEConfig(routing=routing, mlp_dim=mlp_dim, shared_mlp_dim=shared)
