import math

import numpy as np
import pytest

from bandstand.evaluate import FORMULAS, EvaluationError, Formula, LoggedRows

ROWS = LoggedRows.of([1.0, 2.0, 3.0], [0, 0, 0], [1.0, 0.5, 0.1], [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], np.ones((3, 2)))
WITH_PARAMETER = [name for name, formula in FORMULAS.items() if formula.parameter is not None]


def compute_shrunk(name: str, parameter: float) -> list[float]:
    formula = Formula.named(name, parameter)
    return list(formula.reweight(ROWS, formula.value))


def test_weights_are_shrunk_as_the_papers_say() -> None:
    assert ROWS.weight.tolist() == [0, 1, 10]
    assert compute_shrunk("clipped_ips", 4) == [0, 1, 4]
    assert compute_shrunk("clipped_dr", 4) == [0, 1, 4]
    assert compute_shrunk("switch_dr", 10) == [0, 1, 10]  # the threshold itself is kept
    assert compute_shrunk("switch_dr", 9.99) == [0, 1, 0]
    assert compute_shrunk("dr_os", 100) == pytest.approx([0, 100 / 101, 5])
    assert compute_shrunk("sg_ips", 0.1) == pytest.approx([0, 1, 10 / 1.9])


@pytest.mark.parametrize("name", WITH_PARAMETER)
def test_the_defaults_bound_every_weight_by_ten(name: str) -> None:
    formula = Formula.named(name)
    weights = np.geomspace(1e-3, 1e6, 200)
    rows = LoggedRows.of(np.zeros(200), None, 1 / (1 + weights), weights / (1 + weights))
    assert formula.reweight(rows, formula.value).max() <= 10 + 1e-9


@pytest.mark.parametrize("name", WITH_PARAMETER)
@pytest.mark.parametrize("value", [-0.1, math.nan, -math.inf])
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(EvaluationError, match=rf"of {name} must be in \[0, "):
        Formula.named(name, value)


def test_the_subgaussian_parameter_ends_at_one() -> None:
    with pytest.raises(EvaluationError, match=r"lambda_ of sg_ips must be in \[0, 1\]"):
        Formula.named("sg_ips", 1.01)


def test_a_parameter_for_an_estimator_without_one_is_refused() -> None:
    with pytest.raises(EvaluationError, match="snips has no parameter"):
        Formula.named("snips", 1.0)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(EvaluationError, match=r"no such estimator; did you mean snips\?"):
        Formula.named("snip")
    with pytest.raises(EvaluationError, match="no such estimator; there are ips, snips, dm"):
        Formula.named("?")
