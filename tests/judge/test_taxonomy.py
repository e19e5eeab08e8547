from typing import Any

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy, shipped_taxonomy
from tests.judge.given import CORRECTION, FOLLOWUP

OWN: dict[str, Any] = {
    "name": "mood-1",
    "labels": {"sad": {"reward": -1, "means": "sad"}, "glad": {"reward": 0.5, "means": "glad"}},
}


def test_followup_is_the_contracts() -> None:
    assert [(label.name, label.reward, label.updates) for label in FOLLOWUP.labels] == [
        ("neg_constraint_restate", -1.0, True),
        ("neg_correction", -0.8, True),
        ("neg_confusion", -0.6, True),
        ("pos_praise", 0.8, True),
        ("pos_progress", 0.1, True),
        ("neutral", 0.0, True),
        ("topic_shift", 0.0, False),
    ]


def test_polarity_is_negative_positive_or_other() -> None:
    assert FOLLOWUP.list_by_polarity("negative") == ("neg_constraint_restate", "neg_correction", "neg_confusion")
    assert FOLLOWUP.list_by_polarity("positive") == ("pos_praise",)
    assert FOLLOWUP.list_by_polarity("other") == ("pos_progress", "neutral", "topic_shift")


def test_corrections_have_the_contracts_kinds_and_self_correction_counts_for_nothing() -> None:
    assert set(CORRECTION.label_names) == {
        "explicit_rejection",
        "alternative_request",
        "repetition",
        "self_correction",
        "neutral",
    }
    itself = CORRECTION.label("self_correction")
    assert (itself.reward, itself.updates, itself.polarity) == (0.0, False, "other")


@pytest.mark.parametrize("name", SHIPPED_TAXONOMIES)
def test_the_neutral_label_is_worth_nothing_and_updates(name: str) -> None:
    assert shipped_taxonomy(name).neutral.name == "neutral"


def test_a_deployment_brings_its_own_and_signs_decide_what_it_leaves_out() -> None:
    own = Taxonomy.parse(OWN)
    assert [(label.polarity, label.updates) for label in own.labels] == [("negative", True), ("positive", True)]
    assert own.neutral.name == "glad"


def test_the_hash_is_the_definitions_whatever_the_order_of_its_keys() -> None:
    turned = {"labels": {"sad": {"means": "sad", "reward": -1}, "glad": OWN["labels"]["glad"]}, "name": "mood-1"}
    changed = {**OWN, "labels": {**OWN["labels"], "glad": {"reward": 0.6, "means": "glad"}}}
    assert Taxonomy.parse(turned).hash == Taxonomy.parse(OWN).hash
    assert Taxonomy.parse(changed).hash != Taxonomy.parse(OWN).hash


def test_every_fault_comes_back_at_once() -> None:
    broken = {
        "name": "My Taxonomy",
        "lables": {},
        "labels": {
            "Bad-Name": {"reward": 2, "means": "x"},
            "wrong_sign": {"reward": -0.5, "polarity": "positive", "means": "x"},
            "misspelt": {"reward": 0, "means": "x", "update": False},
            "nameless": {"reward": float("nan"), "polarity": "neutral"},
            "truth": {"reward": True, "means": ""},
        },
    }
    with pytest.raises(ConfigurationError) as caught:
        Taxonomy.parse(broken, "taxonomies.mine")
    assert {error.field for error in caught.value.errors} == {
        "taxonomies.mine.name",
        "taxonomies.mine.lables",
        "taxonomies.mine.labels.Bad-Name",
        "taxonomies.mine.labels.Bad-Name.reward",
        "taxonomies.mine.labels.wrong_sign.polarity",
        "taxonomies.mine.labels.misspelt.update",
        "taxonomies.mine.labels.nameless.reward",
        "taxonomies.mine.labels.nameless.polarity",
        "taxonomies.mine.labels.nameless.means",
        "taxonomies.mine.labels.truth.reward",
        "taxonomies.mine.labels.truth.means",
    }
    assert "did you mean 'labels'" in caught.value.detail


@pytest.mark.parametrize("definition", [None, [], {"name": "x"}, {"name": "x", "labels": {"one": {}}}])
def test_what_is_no_taxonomy_is_refused(definition: object) -> None:
    with pytest.raises(ConfigurationError):
        Taxonomy.parse(definition)


def test_an_unknown_name_says_what_was_probably_meant() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'neg_correction'"):
        FOLLOWUP.label("neg_corection")
    with pytest.raises(ConfigurationError, match="did you mean 'followup-v1'"):
        shipped_taxonomy("followup-v2")


@pytest.mark.parametrize("name", SHIPPED_TAXONOMIES)
def test_the_shipped_taxonomies_teach_by_the_behaviour_alone(name: str) -> None:
    assert shipped_taxonomy(name).taught_targets == {"behaviour"}


def test_so_does_one_without_a_table_and_another_says_it_itself() -> None:
    assert Taxonomy.parse(OWN).taught_targets == {"behaviour"}
    both = Taxonomy.parse(OWN | {"targets": {"behaviour": True, "content": True, "none": False}})
    assert both.taught_targets == {"behaviour", "content"}
    assert both.hash != Taxonomy.parse(OWN).hash


@pytest.mark.parametrize(
    ("targets", "field"),
    [({"tone": True}, "mood.targets.tone"), ({"content": 1}, "mood.targets.content"), ([], "mood.targets")],
)
def test_a_wrong_table_of_targets_is_named(targets: object, field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Taxonomy.parse(OWN | {"targets": targets}, "mood")
    assert field in [fault.field for fault in caught.value.errors]
