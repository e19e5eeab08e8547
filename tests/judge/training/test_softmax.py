import numpy as np
import pytest

from bandstand.judge.local.classifier import Floats
from bandstand.judge.local.ngrams import BUCKETS, SCALES, extract_features
from bandstand.judge.training.softmax import DesignMatrix, compute_softmax, fit
from tests.judge.given import normalise_message

MESSAGES = ["wrong", "that is wrong", "perfect", "perfect thanks", "so wrong", "all perfect", "why", "tell me why"]
LABELS = [0, 0, 1, 1, 0, 1, 2, 2]
FEATURES = [extract_features(normalise_message(message)) for message in MESSAGES]
DESIGN = DesignMatrix.from_features(FEATURES)
ALLOWED = np.eye(3, dtype=np.bool_)[LABELS]
COUNTS = np.ones(len(MESSAGES))


def compute_objective(
    weights: Floats, bias: Floats, allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], decay: float
) -> float:
    p = compute_softmax(DESIGN.compute_product(weights.T) + bias)
    return float(-np.log((p * allowed).sum(axis=1)).sum() + decay / 2 * (weights**2).sum())


def test_sparse_products_are_the_dense_ones() -> None:
    dense = np.zeros((len(MESSAGES), BUCKETS))
    for row, turn in enumerate(FEATURES):
        for ids, scale in zip(turn, SCALES, strict=True):
            dense[row, ids] = scale / max(len(ids), 1) ** 0.5
    rng = np.random.default_rng(1)
    weights, slopes = rng.normal(size=(3, BUCKETS)), rng.normal(size=(3, len(MESSAGES)))
    np.testing.assert_allclose(DESIGN.compute_product(weights), dense @ weights.T, atol=1e-12)
    np.testing.assert_allclose(DESIGN.by_bucket.compute(slopes), slopes @ dense[:, DESIGN.buckets], atol=1e-12)
    assert np.all(dense.any(axis=0) == np.isin(np.arange(BUCKETS), DESIGN.buckets))


def test_the_gradient_vanishes_where_the_fit_ends() -> None:
    weights, bias = fit(DESIGN, ALLOWED, COUNTS, decay=0.1, iterations=300)
    slopes = compute_softmax(DESIGN.compute_product(weights.T) + bias) - ALLOWED
    assert np.abs(DESIGN.by_bucket.compute(slopes.T.copy()) + 0.1 * weights.T[:, DESIGN.buckets]).max() < 1e-6
    assert np.abs(slopes.sum(axis=0)).max() < 1e-6


def test_more_steps_never_fit_worse_in_the_end() -> None:
    values = [
        compute_objective(*fit(DESIGN, ALLOWED, COUNTS, decay=0.1, iterations=iterations), ALLOWED, 0.1)
        for iterations in (0, 10, 50, 100)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(len(MESSAGES) * np.log(3))


def test_an_example_with_several_possible_labels_pulls_towards_all_of_them() -> None:
    allowed = ALLOWED.copy()
    allowed[LABELS.index(2) :, :2] = [True, False]
    weights, bias = fit(DESIGN, allowed, COUNTS, decay=0.1, iterations=300)
    p = compute_softmax(DESIGN.compute_product(weights.T) + bias)
    assert np.all((p * allowed).sum(axis=1) > 0.5)


def test_an_example_that_weighs_double_counts_as_two() -> None:
    twice = DesignMatrix.from_features(
        [extract_features(normalise_message(message)) for message in [*MESSAGES, MESSAGES[0]]]
    )
    weighted = fit(DESIGN, ALLOWED, np.array([2.0, *COUNTS[1:]]), decay=0.5, iterations=200)
    doubled = fit(twice, np.vstack([ALLOWED, ALLOWED[:1]]), np.ones(len(MESSAGES) + 1), decay=0.5, iterations=200)
    np.testing.assert_allclose(weighted[0], doubled[0], atol=1e-6)


def test_learning_is_drawn_back_to_where_it_starts() -> None:
    rng = np.random.default_rng(2)
    start = (rng.normal(size=(BUCKETS, 3)), rng.normal(size=3))
    weights, _ = fit(DESIGN, ALLOWED, COUNTS, decay=1e6, iterations=50, start=start)
    np.testing.assert_allclose(weights, start[0], atol=1e-4)
    untouched = np.setdiff1d(np.arange(BUCKETS), DESIGN.buckets)
    moved, _ = fit(DESIGN, ALLOWED, COUNTS, decay=0.1, iterations=50, start=start)
    np.testing.assert_array_equal(moved[untouched], start[0][untouched])
    assert np.abs(moved - start[0]).max() > 0.1


def test_the_result_is_the_same_every_time() -> None:
    one, other = (fit(DESIGN, ALLOWED, COUNTS, decay=0.1, iterations=50) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])
