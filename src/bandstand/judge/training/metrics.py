"""Agreement of a judge with known truth: pure functions over lists of names. The ratio 0/0 is None, not 0."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

Names = Sequence[str]
Confusion = dict[str, dict[str, int]]

BINS: Final = 10


def compute_confusion(truth: Names, predicted: Names) -> Confusion:
    """Count how often each true name was called what: ``{truth: {said: count}}``, over every name that occurs."""
    names = sorted({*truth, *predicted})
    counts = Counter(zip(truth, predicted, strict=True))
    return {true: {name: counts[true, name] for name in names} for true in names}


def compute_accuracy(truth: Names, predicted: Names) -> float | None:
    """Return the share that agrees."""
    return _compute_ratio(sum(a == b for a, b in zip(truth, predicted, strict=True)), len(truth))


def compute_constant_accuracy(truth: Names, name: str) -> float | None:
    """Return the accuracy of always saying ``name``: what any judge has to beat."""
    return _compute_ratio(sum(true == name for true in truth), len(truth))


def compute_precision(truth: Names, predicted: Names, name: str) -> float | None:
    """Return the share of those called ``name`` that are."""
    return _compute_ratio(_count_hits(truth, predicted, name), sum(word == name for word in predicted))


def compute_recall(truth: Names, predicted: Names, name: str) -> float | None:
    """Return the share of those that are ``name`` that were called so."""
    return _compute_ratio(_count_hits(truth, predicted, name), sum(word == name for word in truth))


def compute_f1(truth: Names, predicted: Names, name: str) -> float | None:
    """Return F1 = 2·TP/(2·TP + FP + FN) of ``name``; None if it is neither true nor said anywhere."""
    hits = _count_hits(truth, predicted, name)
    return _compute_ratio(2 * hits, sum(word == name for word in truth) + sum(word == name for word in predicted))


def compute_false_alarm_rate(truth: Names, predicted: Names, name: str) -> float | None:
    """Return the share of those that are not ``name`` that were called so."""
    others = [called for true, called in zip(truth, predicted, strict=True) if true != name]
    return _compute_ratio(sum(called == name for called in others), len(others))


def compute_macro_f1(truth: Names, predicted: Names) -> float | None:
    """Return the mean over names of F1 = 2·TP/(2·TP + FP + FN), over every name that is true or was said somewhere."""
    scores = [compute_f1(truth, predicted, name) or 0.0 for name in {*truth, *predicted}]
    return _compute_ratio(sum(sorted(scores)), len(scores))


def compute_kappa(truth: Names, predicted: Names) -> float | None:
    """Return Cohen's κ = (p_o − p_e)/(1 − p_e): agreement beyond what chance gives (Cohen 1960)."""
    observed = compute_accuracy(truth, predicted)
    if observed is None:
        return None
    true, called, n = Counter(truth), Counter(predicted), len(truth)
    expected = sum(true[name] * called[name] for name in true) / n**2
    return _compute_ratio(observed - expected, 1 - expected)


def compute_calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> float | None:
    """Return the expected calibration error Σ_b n_b/n · |mean confidence − share correct| over bins of equal width.

    Source: Naeini, Cooper and Hauskrecht (2015), eq. 3.
    """
    binned: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in zip(confidences, correct, strict=True):
        binned.setdefault(min(int(confidence * bins), bins - 1), []).append((confidence, right))
    gaps = [abs(sum(c for c, _ in pairs) - sum(right for _, right in pairs)) for _, pairs in sorted(binned.items())]
    return _compute_ratio(sum(gaps), len(confidences))


def compute_sign_flip_rate(polarities: Names, rewards: Sequence[float]) -> float | None:
    """Return the share of turns where the reward has the opposite sign of the truth, so that it teaches the reverse."""
    flips = sum(
        (polarity == "negative" and reward > 0) or (polarity == "positive" and reward < 0)
        for polarity, reward in zip(polarities, rewards, strict=True)
    )
    return _compute_ratio(flips, len(polarities))


def _count_hits(truth: Names, predicted: Names, name: str) -> int:
    return sum(true == word == name for true, word in zip(truth, predicted, strict=True))


def _compute_ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
