"""Personas: what ships, what is generated, and what is refused."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from bandstand.errors import InvalidRequestError
from bandstand.simulate.world.persona import (
    LANGUAGES,
    PERSONA_SETS,
    SIGNED,
    UNIFORM,
    Persona,
    build_personas,
    expand_personas,
    generate_personas,
    load_shipped_personas,
    make_personas,
    parse_personas,
)

ADA = {"name": "Ada", "prefers_high_priority": 0.5, "prefers_overdue": 1}


def test_shipped_personas_are_many_named_described_and_within_the_contract() -> None:
    shipped = load_shipped_personas()
    assert len(shipped) >= 14
    assert len({persona.name for persona in shipped}) == len(shipped)
    assert all(persona.description for persona in shipped)
    assert all(0 <= p.prefers_high_priority <= 1 and 0 <= p.prefers_overdue <= 1 for p in shipped)


def test_the_first_fourteen_shipped_personas_vary_in_every_trait() -> None:
    first = load_shipped_personas()[:14]
    for preference in ([p.prefers_high_priority for p in first], [p.prefers_overdue for p in first]):
        assert min(preference) <= 0.1
        assert max(preference) >= 0.9
        assert np.std(preference) >= 0.25
    assert {(p.morning_active, p.evening_active) for p in first} == {(a, b) for a in (0, 1) for b in (0, 1)}


def test_generated_personas_fill_their_stated_intervals() -> None:
    count = 4000
    for distribution in (UNIFORM, SIGNED):
        drawn = generate_personas(distribution, count, seed=3)
        for interval, values in (
            (distribution.prefers_high_priority, [p.prefers_high_priority for p in drawn]),
            (distribution.prefers_overdue, [p.prefers_overdue for p in drawn]),
        ):
            low, high = interval
            # The mean of a uniform on [low, high] has variance (high − low)²/12/count; five standard errors.
            assert abs(np.mean(values) - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * count)
            assert low <= min(values) < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < max(values) < high
        for share in (np.mean([p.morning_active for p in drawn]), np.mean([p.evening_active for p in drawn])):
            assert abs(share - 0.5) < 5 * np.sqrt(0.25 / count)


def test_only_the_signed_set_has_negative_preferences_and_only_for_priority() -> None:
    assert min(p.prefers_high_priority for p in generate_personas(UNIFORM, 500, seed=0)) >= 0
    signed = generate_personas(SIGNED, 500, seed=0)
    assert min(p.prefers_high_priority for p in signed) < -0.9
    assert min(p.prefers_overdue for p in signed) >= 0


def test_more_generated_personas_begin_with_the_same_ones_and_another_seed_gives_others() -> None:
    assert generate_personas(SIGNED, 50, seed=7)[:9] == generate_personas(SIGNED, 9, seed=7)
    assert generate_personas(SIGNED, 9, seed=7) != generate_personas(SIGNED, 9, seed=8)


@pytest.mark.parametrize("name", PERSONA_SETS)
def test_every_named_set_gives_as_many_personas_as_asked(name: str) -> None:
    assert len(make_personas(name, 40, seed=1)) == 40


def test_an_unknown_set_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InvalidRequestError, match="did you mean uniform"):
        make_personas("unifrom", 3, seed=0)


def test_recruiting_starts_over_when_personas_run_out() -> None:
    two = (
        Persona(name="a", prefers_high_priority=0, prefers_overdue=0),
        Persona(name="b", prefers_high_priority=1, prefers_overdue=1),
    )
    assert [persona.name for persona in expand_personas(two, 5)] == ["a", "b", "a", "b", "a"]


def test_toml_and_a_parsed_document_give_the_same_personas() -> None:
    text = '[[personas]]\nname = "Ada"\nprefers_high_priority = 0.5\nprefers_overdue = 1\n'
    assert parse_personas(text) == build_personas({"personas": [ADA]})
    (ada,) = parse_personas(text)
    assert (ada.morning_active, ada.evening_active, ada.description) == (False, False, "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prefers_overdue": 1.01}, "personas.1.prefers_overdue"),
        ({"prefers_high_priority": -1.01}, "personas.1.prefers_high_priority"),
        ({"prefers_high_priority": float("nan")}, "personas.1.prefers_high_priority"),
        ({"prefers_high_priority": True}, "personas.1.prefers_high_priority"),
        ({"prefers_overdue": "0.5"}, "personas.1.prefers_overdue"),
        ({"morning_active": 1}, "personas.1.morning_active"),
        ({"name": " "}, "personas.1.name"),
        ({"description": None}, "personas.1.description"),
    ],
)
def test_a_wrong_field_is_named_by_its_place(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_personas({"personas": [ADA, ADA | {"name": "Bo"} | change]})
    assert [error.field for error in caught.value.errors] == [field]


def test_all_wrong_fields_are_named_at_once_and_an_unknown_one_gets_a_suggestion() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_personas({"personas": [{"name": "Ada", "prefers_overdu": 1}, 3]})
    assert [(error.field, error.message) for error in caught.value.errors] == [
        ("personas.0.prefers_high_priority", "is required"),
        ("personas.0.prefers_overdue", "is required"),
        ("personas.0", "has an unknown field; did you mean prefers_overdue?"),
        ("personas.1", "must be a table"),
    ]


@pytest.mark.parametrize(
    "document", [{}, {"personas": []}, {"personas": [ADA], "persona": []}, {"personas": [ADA, ADA]}]
)
def test_a_document_that_is_no_persona_set_is_refused(document: Mapping[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        build_personas(document)


def test_text_that_is_not_toml_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="TOML"):
        parse_personas("personas = [")


def test_the_type_itself_refuses_what_is_out_of_range_and_allows_negative_preferences() -> None:
    with pytest.raises(InvalidRequestError):
        Persona(name="x", prefers_high_priority=0, prefers_overdue=-1.5)
    assert Persona(name="x", prefers_high_priority=-1, prefers_overdue=-1).prefers_overdue == -1


def test_generated_personas_speak_languages_in_the_stated_shares_and_prefer_what_they_did() -> None:
    """2,000 of them: a share's standard error is below 0.012."""
    spoken = Counter(persona.language for persona in make_personas("uniform", 2_000, 5))
    assert spoken["en"] / 2_000 == pytest.approx(0.5, abs=0.05)
    assert spoken["zh"] / 2_000 == pytest.approx(0.25, abs=0.05)
    assert spoken.keys() == set(LANGUAGES)
    assert {persona.language for persona in load_shipped_personas()} == set(LANGUAGES)
    with pytest.raises(InvalidRequestError, match="language must be one of en, zh, mixed"):
        Persona(name="Ada", prefers_high_priority=0, prefers_overdue=0, language="fr")
