"""A deployment's own judge is read from its file, and every fault in it comes back at once."""

import tomllib

import pytest

from bandstand.errors import ConfigurationError
from bandstand.judge.configuration import JudgeConfiguration
from bandstand.judge.local.classifier import shipped_weights
from bandstand.judge.local.local_judge import Local
from bandstand.judge.local.rules import Rules
from bandstand.judge.turn import Turn
from tests.judge.given import FOLLOWUP

OWN = """
[judge]
taxonomy = "mood-v1"

[judge.arbiter]
gray_zone_threshold = 0.9
llm_judge_timeout_ms = 500
llm_judge_enabled = true

[[judge.rules]]
id = "mine.fuming"
label = "annoyed"
score = 0.9
any = ["fuming", "气死了"]

[[judge.rules]]
id = "mine.refund"
taxonomy = "followup-v1"
label = "neg_correction"
score = 0.8
any = ["money back"]

[taxonomies.mood-v1.labels.annoyed]
reward = -0.7
means = "is annoyed by the answer"

[taxonomies.mood-v1.labels.busy]
reward = 0.0
updates = false
means = "has no time now"
"""


def parse_toml(text: str) -> JudgeConfiguration:
    return JudgeConfiguration.parse(tomllib.loads(text))


def list_faults(text: str) -> set[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_toml(text)
    return {fault.field for fault in caught.value.errors}


def verdict(judge: Local | Rules, message: str) -> str:
    return judge.verdict(Turn("", "Here it is.", message).cut()).label


def test_nothing_said_leaves_what_ships() -> None:
    own = parse_toml("[policies]")
    assert (own.default_taxonomy, tuple(own.taxonomies)) == ("followup-v1", ("followup-v1", "correction-v1"))
    assert own.taxonomies["followup-v1"] == FOLLOWUP
    judge = own.build_local("followup-v1")
    assert isinstance(judge, Local)
    assert judge.model == Local.shipped().model


def test_own_taxonomies_rules_and_thresholds_are_used() -> None:
    own = parse_toml(OWN)
    assert own.default_taxonomy == "mood-v1"
    assert (own.arbiter.gray_zone_threshold, own.arbiter.llm_judge_timeout_ms) == (0.9, 500)
    mood = own.build_local("mood-v1")
    assert isinstance(mood, Rules), "no text model was trained for it"
    assert verdict(mood, "I am fuming!") == "annoyed"
    assert verdict(mood, "sure") == "busy"
    followup = own.build_local("followup-v1")
    assert isinstance(followup, Local)
    assert followup.verdict(Turn("", "Here it is.", "I want my money back").cut()).rule == "mine.refund"


def test_own_weights_are_used() -> None:
    weights = shipped_weights("followup-v1")
    judge = parse_toml("").build_local("followup-v1", weights)
    assert f"{weights.name}@{weights.hash[:8]}" in judge.model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("judge = 1", {"judge"}),
        ("taxonomies = 1", {"taxonomies"}),
        ("taxonomies.mood = 1", {"taxonomies.mood"}),
        ("[judge]\ntaxonomy = 'followup'", {"judge.taxonomy"}),
        ("[judge]\nmodel = 'x'", {"judge.model"}),
        ("[judge]\nrules = {}", {"judge.rules"}),
        ("[judge]\nrules = [1]", {"judge.rules[0].id"}),
        ("[[judge.rules]]\ntaxonomy = 'mood'", {"judge.rules[0].taxonomy"}),
        ("[judge]\narbiter = 1", {"judge.arbiter"}),
        ("[judge.arbiter]\nconflict_threshold = 2", {"judge.arbiter.conflict_threshold"}),
        ("[judge.arbiter]\nllm_judge_enabled = 1", {"judge.arbiter.llm_judge_enabled"}),
        ("[judge.arbiter]\nllm_judge_timeout_ms = 0", {"judge.arbiter.llm_judge_timeout_ms"}),
        ("[judge.arbiter]\nllm_judge_timeout_ms = 2.5", {"judge.arbiter.llm_judge_timeout_ms"}),
        ("[judge.arbiter]\nurl = 'x'", {"judge.arbiter.url"}),
        ("[taxonomies.followup-v1.labels.a]\nreward = 0", {"taxonomies.followup-v1"}),
        (
            OWN.replace("reward = -0.7", "reward = -7"),
            {"taxonomies.mood-v1.labels.annoyed.reward"},
        ),
        (
            OWN.replace(
                "[taxonomies.mood-v1.labels.annoyed]",
                "[taxonomies.mood-v1]\nname = 'other'\n[taxonomies.mood-v1.labels.annoyed]",
            ),
            {"taxonomies.mood-v1.name"},
        ),
        (
            OWN.replace("score = 0.9", "score = 1.9").replace('label = "neg_correction"', 'label = "cross"'),
            {"judge.rules[0].score", "judge.rules[1].label"},
        ),
    ],
)
def test_every_fault_is_named(text: str, expected: set[str]) -> None:
    assert expected <= list_faults(text)


def test_a_rule_of_one_s_own_may_not_take_the_id_of_one_that_ships() -> None:
    with pytest.raises(ConfigurationError):
        parse_toml(OWN.replace("mine.refund", "en.wrong-alone")).build_local("followup-v1")


def test_an_unknown_taxonomy_is_a_configuration_s_fault() -> None:
    with pytest.raises(ConfigurationError):
        parse_toml("").build_local("mood-v1")
