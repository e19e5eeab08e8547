"""A plan: what it takes, what it refuses by name, and that it comes back from its JSON."""

from dataclasses import replace
from typing import Any

import pytest

from bandstand.errors import InvalidRequestError
from bandstand.simulate.plan import ChatPlan, JudgePlan, Plan, parse_contestant, to_truth_name
from bandstand.simulate.world.persona import Persona, make_personas
from tests.simulate.given import SMALL

OWN = (Persona(name="Ada", prefers_high_priority=0.5, prefers_overdue=-0.25, morning_active=True, description="x"),)


@pytest.mark.parametrize(
    "plan",
    [
        SMALL,
        replace(SMALL, world="signed", first_seed=9, day_of_week=3, reflex_rate=0.1, events="none"),
        replace(SMALL, world=OWN, judge=JudgePlan(kind="command", command=("sh", "-c", "echo done"), deadline_s=2.5)),
        replace(
            SMALL, judge=JudgePlan(kind="llm", model="m", url="http://localhost:4000"), url="http://localhost:8000"
        ),
        replace(SMALL, chat=ChatPlan(tier="auto", gate="soft", tau=0.7, judge="rules@1")),
        SMALL.with_definitions({"linucb-v1": "aa", "linucb-v2": "bb", "egreedy-v1": "cc"}),
    ],
)
def test_it_comes_back_from_its_json(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"policies": ()}, {"policies"}),
        ({"policies": ("linucb-v1", "linucb-v1")}, {"policies"}),
        ({"personas": 0}, {"personas"}),
        ({"personas": 10_001}, {"personas"}),
        ({"seeds": 0, "events": "some"}, {"seeds", "events"}),
        ({"first_seed": -1}, {"first_seed"}),
        ({"judge": JudgePlan(kind="oracle")}, {"judge"}),  # type: ignore[arg-type]  # what must be refused
        ({"judge": JudgePlan(kind="command")}, {"judge.command"}),
        ({"judge": JudgePlan(command=("sh",))}, {"judge.command"}),
        ({"judge": JudgePlan(model="m")}, {"judge.model"}),
        ({"judge": JudgePlan(kind="llm", url="http://localhost")}, {"judge.url"}),
        ({"judge": JudgePlan(deadline_s=0.0)}, {"judge.deadline_s"}),
        ({"chat": ChatPlan(tier="ear")}, {"chat.tier"}),  # type: ignore[arg-type]  # what must be refused
        ({"chat": ChatPlan(gate="ajar", tau=1.5)}, {"chat.gate", "chat.tau"}),  # type: ignore[arg-type]  # the same
        ({"chat": ChatPlan(), "judge": JudgePlan(kind="llm")}, {"chat"}),
        ({"chat": ChatPlan(), "url": "http://localhost:8000"}, {"chat"}),
        ({"days": 0, "candidates": 0}, {"days", "candidates"}),
        ({"day_of_week": 7}, {"day_of_week"}),
        ({"reflex_rate": 1.5}, {"reflex_rate"}),
    ],
)
def test_every_wrong_field_is_named(changes: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        replace(SMALL, **changes)
    assert {error.field for error in caught.value.errors} == fields
    for field in fields:
        assert field in caught.value.detail


def test_a_world_may_be_a_name_a_list_or_a_table_of_personas() -> None:
    persona = {"name": "Ada", "prefers_high_priority": 0.5, "prefers_overdue": 0.1}
    made = [Plan.from_document({"policies": ["p"], "world": world}) for world in ([persona], {"personas": [persona]})]
    assert made[0] == made[1]
    assert [each.name for each in made[0].build_world(0).personas] == ["Ada"] * 14
    with pytest.raises(InvalidRequestError, match="did you mean uniform"):
        Plan.from_document({"policies": ["p"], "world": "unifrom"})


def test_a_field_that_a_simulation_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="has no polices"):
        Plan.from_document({"policies": ["p"], "polices": ["q"]})


def test_generated_personas_differ_from_seed_to_seed_and_shipped_ones_do_not() -> None:
    for world, same in (("shipped", True), ("uniform", False), ("signed", False)):
        plan = replace(SMALL, world=world)
        assert (plan.build_world(0).personas == plan.build_world(1).personas) == same
        assert plan.build_world(1).personas == make_personas(world, SMALL.personas, 1)


def test_the_total_counts_every_policy_seed_user_and_step() -> None:
    assert SMALL.total == 2 * 2 * 3 * 20
    assert list(replace(SMALL, first_seed=5).seed_range()) == [5, 6]


def test_where_users_talk_each_policy_plays_once_more_taught_by_the_truth() -> None:
    talking = replace(SMALL, chat=ChatPlan())
    assert talking.contestants == (*SMALL.policies, *map(to_truth_name, SMALL.policies))
    assert [parse_contestant(name) for name in talking.contestants] == [
        ("linucb-v1", False),
        ("linucb-v2", False),
        ("linucb-v1", True),
        ("linucb-v2", True),
    ]
    assert talking.total == 2 * SMALL.total
    assert talking.build_world(0).conversations
    assert (SMALL.contestants, SMALL.build_world(0).conversations) == (SMALL.policies, False)
    assert (SMALL.action_names, len(talking.action_names)) == (("done", "snooze", "dismiss"), 7)
