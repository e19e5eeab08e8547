"""Command lines of Vowpal Wabbit: what has a meaning here is read, what cannot be served is refused by name."""

import pytest

from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.policy_arguments import PolicyArguments, build_default_arguments


@pytest.mark.parametrize(
    ("text", "kind", "epsilon", "gamma"),
    [
        (build_default_arguments(0.2), "egreedy", 0.2, None),
        ("--cb_explore_adf -q :: --cb_type mtr", "egreedy", None, None),
        ("--ccb_explore_adf --epsilon=0.05 --ignore_linear x --l1 0", "egreedy", 0.05, None),
        ("--cb_explore_adf --squarecb --gamma_scale 50", "squarecb", None, 50.0),
        ("--cb_explore_adf --squarecb", "squarecb", None, None),
    ],
)
def test_a_command_line_is_read(text: str, kind: str, epsilon: float | None, gamma: float | None) -> None:
    assert PolicyArguments.parse("p", text) == PolicyArguments("p", text, kind, epsilon, gamma)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("--epsilon 0.2", "--cb_explore_adf"),
        ("--cb_explore_adf --bag 5", "--bag"),
        ("--cb_explore_adf --cover 3", "--cover"),
        ("--cb_explore_adf --softmax", "--softmax"),
        ("--cb_explore_adf --epsilon", "--epsilon"),
        ("--cb_explore_adf --epsilon 1.5", "--epsilon"),
        ("--cb_explore_adf --squarecb --gamma_scale x", "--gamma_scale"),
        ("--cb_explore_adf 'x", "quotes"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(text: str, names: str) -> None:
    with pytest.raises(PersonalizerError, match=names) as refusal:
        PolicyArguments.parse("p", text)
    assert refusal.value.wire_code == "InvalidPolicyConfiguration"


@pytest.mark.parametrize(
    "body", [{}, {"name": "", "arguments": "x"}, {"name": "p"}, {"name": "p", "arguments": "x" * 1025}]
)
def test_a_body_without_either_is_refused(body: dict[str, str]) -> None:
    with pytest.raises(PersonalizerError) as refusal:
        PolicyArguments.parse_body(body)
    assert refusal.value.wire_code == "InvalidPolicyContract"
