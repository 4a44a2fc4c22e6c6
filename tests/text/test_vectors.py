import numpy as np
import pytest

from jaxserve.errors import InvalidRequest
from jaxserve.text import vectors
from jaxserve.text.sentence_folder import SentenceFacts, Similarity

V = np.asarray([3.0, 4.0, 12.0], np.float32)
W = np.asarray([0.0, 2.0, 0.0], np.float32)


def test_a_shortened_vector_has_unit_length() -> None:
    np.testing.assert_allclose(vectors.shortened(V, 2), [0.6, 0.8])
    assert vectors.shortened(V, 3) is V
    assert vectors.shortened(V, None) is V


def test_a_vector_of_zeros_stays_one() -> None:
    assert vectors.normalized(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("facts", "allowed", "told"),
    [
        (SentenceFacts(), [None, 8], "it can be 8: this model does not say"),
        (SentenceFacts(any_size=True), [None, 8, 1, 5], "it can be 1 to 8"),
        (SentenceFacts(vector_sizes=(2, 4)), [None, 8, 2, 4], "it can be 2, 4"),
    ],
)
def test_vectors_are_cut_only_where_the_model_says_so(
    facts: SentenceFacts, allowed: list[int | None], told: str
) -> None:
    for size in allowed:
        vectors.check_dimensions(size, 8, facts)
    for size in (3 if not facts.any_size else 9, 9):
        with pytest.raises(InvalidRequest, match=told):
            vectors.check_dimensions(size, 8, facts)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cosine", 8 / 26),
        ("dot", 8.0),
        ("euclidean", -((9 + 4 + 144) ** 0.5)),
        ("manhattan", -17.0),
    ],
)
def test_similarities(kind: Similarity, expected: float) -> None:
    assert vectors.similarity(V, W, kind) == pytest.approx(expected)


def test_scores_are_between_0_and_1_unless_the_model_says_otherwise() -> None:
    assert vectors.score(0.0, SentenceFacts()) == 0.5
    assert vectors.score(1e4, SentenceFacts()) == 1.0
    assert vectors.score(-1e4, SentenceFacts(score_activation="sigmoid")) == 0.0
    assert vectors.score(7.5, SentenceFacts(score_activation="identity")) == 7.5


def test_labels_share_one_probability_or_have_one_each() -> None:
    logits = np.asarray([0.0, 1000.0], np.float32)
    assert vectors.probabilities(logits, SentenceFacts()).tolist() == [0, 1]
    assert vectors.probabilities(logits, SentenceFacts(is_multi_label=True)).tolist() == [0.5, 1]
    assert vectors.probabilities(logits, SentenceFacts(is_regression=True)) is logits
    assert vectors.probabilities(logits[:1], SentenceFacts()).tolist() == [0.5]
