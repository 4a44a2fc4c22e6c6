"""Experts are chosen and weighed as each rule says, token by token."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.config import ExpertGroups, RoutingConfig
from jaxserve.models.routing import choose

DRAW = np.random.default_rng(0)
LOGITS = DRAW.normal(size=(7, 8)).astype(np.float32)
CORRECTION = DRAW.normal(size=8).astype(np.float32)
Array = np.ndarray[Any, Any]


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max())
    whole: Array = weights / weights.sum()
    return whole


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def chosen_by(config: RoutingConfig, correction: Array | None = None) -> list[dict[int, float]]:
    """The weight of each chosen expert, token by token."""
    by = None if correction is None else jnp.asarray(correction)
    experts, weights = choose(jnp.asarray(LOGITS), config, by)
    assert experts.shape == weights.shape == (len(LOGITS), config.num_chosen)
    return [
        dict(zip(map(int, row), map(float, of_row), strict=True))
        for row, of_row in zip(experts, weights, strict=True)
    ]


def assert_same(ours: list[dict[int, float]], expected: list[dict[int, float]]) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_best_experts_are_weighed_by_their_softmax(normalised: bool) -> None:
    expected = []
    for logits in LOGITS:
        best = np.argsort(-logits)[:3]
        scores = softmax(logits[best]) if normalised else softmax(logits)[best]
        expected.append(dict(zip(best.tolist(), (2.5 * scores).tolist(), strict=True)))
    config = RoutingConfig(num_experts=8, num_chosen=3, normalised=normalised, multiplier=2.5)
    assert_same(chosen_by(config), expected)


def test_a_correction_decides_who_is_chosen_and_not_the_weight() -> None:
    config = RoutingConfig(num_experts=8, num_chosen=2, scores="sigmoid", correction=True)
    expected = []
    for logits in LOGITS:
        best = np.argsort(-(sigmoid(logits) + CORRECTION))[:2]
        expected.append({int(e): float(sigmoid(logits)[e]) for e in best})
    assert_same(chosen_by(config, CORRECTION), expected)


@pytest.mark.parametrize("judged_by", [1, 2])
def test_experts_outside_of_the_best_groups_are_not_chosen(judged_by: int) -> None:
    groups = ExpertGroups(num_groups=4, num_chosen=2, num_judged_by=judged_by)
    config = RoutingConfig(num_experts=8, num_chosen=3, scores="sigmoid", groups=groups)
    expected = []
    for logits in LOGITS:
        grouped = np.sort(sigmoid(logits).reshape(4, 2))[:, ::-1]
        best_groups = np.argsort(-grouped[:, :judged_by].sum(1))[:2]
        allowed = [e for e in range(8) if e // 2 in best_groups]
        best = sorted(allowed, key=lambda e: -logits[e])[:3]
        expected.append({e: float(sigmoid(logits)[e]) for e in best})
    assert_same(chosen_by(config), expected)


def test_saturated_scores_do_not_hide_the_larger_logit() -> None:
    config = RoutingConfig(num_experts=3, num_chosen=1, scores="sigmoid")
    experts, weights = choose(jnp.asarray([[40.0, 60.0, 50.0]]), config)
    assert experts.tolist() == [[1]]
    assert weights.tolist() == [[1.0]]


def test_one_by_one_a_weight_is_among_those_that_come_close() -> None:
    config = RoutingConfig(num_experts=4, num_chosen=2, margin=0.2)
    experts, weights = choose(jnp.asarray([[5.0, 1.0, 4.5, -5.0]]), config)
    assert experts.tolist() == [[0, 2]]
    first, second = softmax(np.array([5.0, 4.5])), softmax(np.array([4.5]))
    np.testing.assert_allclose(weights, [[first[0], second[0]]], rtol=1e-6)
