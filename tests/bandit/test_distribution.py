"""The draw: every u in [0, 1) stands for one candidate, each exactly as often as its probability says."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.distribution import (
    TIE_TOLERANCE,
    Distribution,
    Pick,
    compute_greedy_probabilities,
    draw_picks,
    extract_second_uniform,
    hash_to_uniform,
    hash_to_uniforms,
)
from tests.bandit.given import LAW, FloatArray

BELOW_ONE = math.nextafter(1.0, 0.0)
UNIT = st.floats(0.0, BELOW_ONE)


def _build_mixture(greedy: list[float], floor: float) -> Distribution:
    nothing = np.zeros(len(greedy))
    return Distribution(nothing, nothing, nothing, np.array(greedy), floor)


@st.composite
def draw_greedy(draw: st.DrawFn) -> list[float]:
    """Probabilities that sum to 1 up to rounding, some of them zero."""
    weights = draw(st.lists(st.integers(0, 10), min_size=1, max_size=12).filter(any))
    return [weight / sum(weights) for weight in weights]


@LAW
@given(draw_greedy(), st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0, 1.0)))
def test_probabilities_are_the_mixture(greedy: list[float], floor: float) -> None:
    distribution = _build_mixture(greedy, floor)
    expected = [(1.0 - floor) * share + floor / len(greedy) for share in greedy]
    np.testing.assert_allclose(distribution.probability, expected, rtol=0, atol=1e-15)
    assert distribution.probability.sum() == pytest.approx(1.0, abs=1e-12)
    assert [distribution.propensity(index) for index in range(len(greedy))] == distribution.probability.tolist()


@LAW
@given(draw_greedy(), st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0, 1.0)), st.one_of(st.just(BELOW_ONE), UNIT))
def test_every_u_is_a_pick_of_positive_probability(greedy: list[float], floor: float, u: float) -> None:
    pick = _build_mixture(greedy, floor).draw(u)
    assert 0 <= pick.index < len(greedy)
    assert pick.exploring is (u < floor)
    assert pick.exploring or greedy[pick.index] > 0.0


@LAW
@given(
    draw_greedy(),
    st.one_of(st.sampled_from([0.0, 1e-300, 0.02, 0.25 - 2.0**-54, 1.0 - 1e-16, 1.0]), st.floats(0.0, 1.0)),
    st.lists(st.one_of(st.just(0.0), st.just(BELOW_ONE), UNIT), min_size=1, max_size=5),
)
def test_draws_of_a_batch_are_those_of_each(greedy: list[float], floor: float, us: list[float]) -> None:
    rows = np.array([greedy[place:] + greedy[:place] for place in range(len(us))])
    together = draw_picks(rows, floor, np.array([*us]))
    alone = [_build_mixture(row, floor).draw(u) for row, u in zip(rows.tolist(), us, strict=True)]
    assert list(zip(together.index.tolist(), together.exploring.tolist(), strict=True)) == alone


def test_a_batch_refuses_a_number_that_is_not_in_the_interval() -> None:
    with pytest.raises(ValueError, match="u must be"):
        draw_picks(np.ones((2, 1)), 0.1, np.array([0.5, 1.0]))


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5, 1.0])
def test_the_measure_of_u_is_the_probability(floor: float) -> None:
    """On an even grid of n values of u, each candidate is picked n·p times, give or take its pieces' two ends."""
    distribution = _build_mixture([0.0, 0.25, 0.5, 0.0, 0.25, 0.0], floor)
    n = 24_000
    counts = np.bincount([distribution.draw((step + 0.5) / n).index for step in range(n)], minlength=6)
    assert np.abs(counts - n * distribution.probability).max() <= 2


def test_the_contracts_epsilon_greedy_draw_by_hand() -> None:
    """Design §5: u < ε explores, index ⌊K·u/ε⌋; else a tie by (u − ε)/(1 − ε)."""
    distribution = _build_mixture([0.5, 0.0, 0.5, 0.0], 0.1)
    assert distribution.draw(0.0) == Pick(0, exploring=True)
    assert distribution.draw(0.03) == Pick(1, exploring=True)
    assert distribution.draw(0.0999) == Pick(3, exploring=True)
    assert distribution.draw(0.1) == Pick(0, exploring=False)
    assert distribution.draw(0.5499) == Pick(0, exploring=False)
    assert distribution.draw(0.5501) == Pick(2, exploring=False)
    assert distribution.draw(BELOW_ONE) == Pick(2, exploring=False)


@pytest.mark.parametrize("greedy", [[0.1] * 10 + [0.0], [0.0, 1.0 - 1e-15, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0]])
def test_rounding_at_the_top_never_reaches_a_candidate_of_probability_zero(greedy: list[float]) -> None:
    # The last floor makes (u − floor)/(1 − floor) round to 1.
    for floor in (0.0, 1e-300, 0.02, 1.0 - 1e-16, 0.25 - 2.0**-54):
        pick = _build_mixture(greedy, floor).draw(BELOW_ONE)
        assert pick.exploring or greedy[pick.index] > 0.0


@LAW
@given(st.one_of(st.floats(0.0, 1.0, exclude_min=True), st.sampled_from([5e-324, 2.0**-1022, 0.02, 0.1, 1.0])))
def test_just_below_the_floor_explores_the_last_of_any_number_of_candidates(floor: float) -> None:
    for count in range(1, 1_001):
        one = np.empty(count)
        pick = Distribution(one, one, one, one, floor).draw(math.nextafter(floor, 0.0))
        assert pick.exploring
        assert pick.index == count - 1 or floor < 1e-300


@LAW
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_ties_share_equally_and_nobody_else_gets_a_part(scores: list[float]) -> None:
    shares = compute_greedy_probabilities(np.array(scores))
    largest = max(scores)
    tied = [score >= largest - TIE_TOLERANCE * max(1.0, abs(largest)) for score in scores]
    assert shares.tolist() == [float(Fraction(each, sum(tied))) for each in tied]


@pytest.mark.parametrize("largest", [0.3, -0.3, 5e4, -5e4])
def test_the_tie_tolerance_is_relative_to_the_largest_or_to_one(largest: float) -> None:
    scale = max(1.0, abs(largest))
    tied = np.array([largest, largest - 0.5e-12 * scale, largest - 2e-12 * scale])
    assert compute_greedy_probabilities(tied).tolist() == [0.5, 0.5, 0.0]


@LAW
@given(st.binary(min_size=1, max_size=100), st.text(max_size=40))
def test_u_is_in_the_unit_interval_and_repeats(secret: bytes, decision_id: str) -> None:
    u = hash_to_uniform(secret, decision_id)
    assert 0.0 <= u < 1.0
    assert u == hash_to_uniform(secret, decision_id)
    assert (u * 2.0**53).is_integer()


def test_u_depends_on_secret_and_id_and_is_the_same_in_every_version() -> None:
    numbers = {hash_to_uniform(secret, name) for secret in (b"a", b"b", b"c" * 65) for name in ("x", "y", "\ud800")}
    assert len(numbers) == 9
    assert hash_to_uniform(b"secret", "decision-1") == 0.48618919820806006


@LAW
@given(st.binary(min_size=1, max_size=100), st.lists(st.text(max_size=40), max_size=5))
def test_the_numbers_of_many_ids_are_the_first_53_bits_of_their_hashes(secret: bytes, decision_ids: list[str]) -> None:
    key = secret if len(secret) <= 64 else hashlib.blake2b(secret).digest()
    encoded = [each.encode("utf-8", "surrogatepass") for each in decision_ids]
    hashes = [int.from_bytes(hashlib.blake2b(each, key=key, digest_size=8).digest()) for each in encoded]
    assert hash_to_uniforms(secret, decision_ids).tolist() == [(each >> 11) / 2.0**53 for each in hashes]


def test_the_second_numbers_of_many_are_those_of_each() -> None:
    uniforms = np.array([0.0, BELOW_ONE, *np.random.default_rng(4).random(500)])
    assert extract_second_uniform(uniforms).tolist() == [extract_second_uniform(u) for u in uniforms.tolist()]


def test_u_is_uniform() -> None:
    n = 20_000
    sample: FloatArray = np.sort([hash_to_uniform(b"secret", f"decision-{number}") for number in range(n)])
    # Kolmogorov-Smirnov: exceeds 2.2/√n once in 10⁴ secrets.
    distance = np.abs(sample - (np.arange(n) + 0.5) / n).max()
    assert distance < 2.2 / math.sqrt(n)
