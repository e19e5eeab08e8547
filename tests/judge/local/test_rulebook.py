from dataclasses import replace

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.local.rulebook import LANGUAGES, NO_RULE, load_shipped_precision, load_shipped_rules, parse_rules
from bandstand.judge.local.rules import RatingRule, RepetitionRule
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy, shipped_taxonomy
from tests.judge.given import FOLLOWUP, normalise_message

GOOD = {"id": "mine.refund", "label": "neg_correction", "any": ["give me my money back"], "score": 0.8}


@pytest.mark.parametrize("name", SHIPPED_TAXONOMIES)
def test_every_shipped_rule_carries_its_measured_precision(name: str) -> None:
    taxonomy = shipped_taxonomy(name)
    measured = load_shipped_precision(name)
    rules = load_shipped_rules(taxonomy).rules
    assert {rule.rule_id for rule in rules} | {NO_RULE, RatingRule.rule_id, RepetitionRule.rule_id} == set(measured)
    assert all(rule.score == measured[rule.rule_id] for rule in rules)
    assert all(0 < score < 1 for score in measured.values())


def test_four_languages_have_rules_for_every_way_to_complain() -> None:
    assert LANGUAGES == ("en", "zh", "es", "de")
    for language in LANGUAGES:
        labels = {rule.label for rule in load_shipped_rules(FOLLOWUP).rules if rule.rule_id.startswith(f"{language}.")}
        assert labels == set(FOLLOWUP.label_names)


def test_a_deployments_own_rules_join_the_shipped() -> None:
    match = load_shipped_rules(FOLLOWUP, parse_rules([GOOD], FOLLOWUP)).find_best(
        normalise_message("Give me my money back!")
    )
    assert match
    assert (match.rule_id, match.score) == ("mine.refund", 0.8)


def test_a_taxonomy_of_ones_own_has_only_rules_of_ones_own() -> None:
    definition = {
        "name": "mood",
        "labels": {"sad": {"reward": -1, "means": "sad"}, "calm": {"reward": 0, "means": "calm"}},
    }
    taxonomy = Taxonomy.parse(definition)
    rules = load_shipped_rules(taxonomy, parse_rules([GOOD | {"label": "sad"}], taxonomy))
    assert [rule.rule_id for rule in rules.rules] == ["mine.refund"]
    assert rules.find_best(normalise_message("the same question", question="the same question")) is None


def test_every_fault_comes_back_at_once() -> None:
    broken = [
        GOOD | {"label": "neg_corection"},
        GOOD | {"score": 1.5, "where": "end"},
        GOOD | {"any": []},
        GOOD | {"any": ["..."], "unless": "x", "pattern": ".*"},
        "no table",
    ]
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(broken, FOLLOWUP)
    fields = {error.field for error in caught.value.errors}
    assert fields >= {
        "rules[0].label",
        "rules[1].score",
        "rules[1].where",
        "rules[2].any",
        "rules[3].any",
        "rules[3].unless",
        "rules[3].pattern",
        "rules[4]",
    }


@pytest.mark.parametrize("definitions", [None, {"id": "x"}, "rules"])
def test_what_is_no_list_is_refused(definitions: object) -> None:
    with pytest.raises(ConfigurationError, match="list of tables"):
        parse_rules(definitions, FOLLOWUP)


def test_a_rule_that_takes_a_shipped_ones_id_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"en\.says-wrong: is defined twice"):
        load_shipped_rules(FOLLOWUP, parse_rules([GOOD | {"id": "en.says-wrong"}], FOLLOWUP))


def test_what_ships_is_read_once_and_only_for_the_taxonomy_that_ships() -> None:
    assert load_shipped_rules(FOLLOWUP) is load_shipped_rules(FOLLOWUP)
    other = replace(FOLLOWUP, labels=tuple(replace(label, means="else") for label in FOLLOWUP.labels))
    assert load_shipped_rules(other).taxonomy is other
    assert load_shipped_rules(FOLLOWUP, precision={}).model != load_shipped_rules(FOLLOWUP).model
