"""The world: every choice's true mean, reactions that do not depend on who asks, and streams that never mix."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bandstand.errors import InvalidRequestError
from bandstand.simulate.world.persona import Persona, load_shipped_personas, make_personas
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode, World

WORLD = World(personas=load_shipped_personas(), seed=20)


def list_reactions(episode: Episode) -> list[list[Reaction]]:
    steps, candidates = episode.expected_reward.shape
    return [[episode.get_reaction(step, candidate) for candidate in range(candidates)] for step in range(steps)]


def test_a_reaction_does_not_depend_on_what_was_picked_before() -> None:
    forwards, backwards = WORLD.build_episode(3), WORLD.build_episode(3)
    greedy = [forwards.get_reaction(step, forwards.expected_reward[step].argmax().item()) for step in range(120)]
    worst = [
        backwards.get_reaction(step, backwards.expected_reward[step].argmin().item()) for step in reversed(range(120))
    ]
    everything = list_reactions(WORLD.build_episode(3))
    assert greedy == [everything[s][forwards.expected_reward[s].argmax()] for s in range(120)]
    assert worst[::-1] == [everything[s][forwards.expected_reward[s].argmin()] for s in range(120)]


def test_a_user_does_not_depend_on_the_other_users() -> None:
    alone = World(personas=WORLD.personas[:3], seed=WORLD.seed)
    assert list_reactions(alone.build_episode(2)) == list_reactions(WORLD.build_episode(2))


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    long = replace(WORLD, days=100).build_episode(1)
    short = WORLD.build_episode(1)
    assert list_reactions(long)[:120] == list_reactions(short)
    assert (long.policy_draws[:120] == short.policy_draws).all()


def test_tasks_and_draws_do_not_depend_on_the_persona() -> None:
    one, other = WORLD.build_episode(0), World(personas=WORLD.personas[::-1], seed=WORLD.seed).build_episode(0)
    assert one.persona != other.persona
    assert [one.slates.get_candidates(s) for s in range(120)] == [other.slates.get_candidates(s) for s in range(120)]
    assert (one.policy_draws == other.policy_draws).all()


def test_users_and_seeds_differ() -> None:
    same = World(personas=(WORLD.personas[0],) * 2, seed=WORLD.seed)
    assert list_reactions(same.build_episode(0)) != list_reactions(same.build_episode(1))
    assert list_reactions(same.build_episode(0)) != list_reactions(replace(same, seed=21).build_episode(0))


def test_policy_draws_are_uniform_and_tell_nothing_of_reactions() -> None:
    world = replace(WORLD, days=2000)
    episode = world.build_episode(4)
    count = world.decisions_per_user
    done = np.array([episode.get_reaction(step, 0).action == "done" for step in range(count)])
    assert abs(episode.policy_draws.mean() - 0.5) < 5 / np.sqrt(12 * count)
    assert abs(np.corrcoef(episode.policy_draws, done)[0, 1]) < 5 / np.sqrt(count)


@pytest.mark.parametrize("reflex_rate", [0.0, 0.5])
def test_the_rewards_of_a_run_have_the_expected_mean(reflex_rate: float) -> None:
    world = World(personas=make_personas("signed", 60, seed=1), seed=1, reflex_rate=reflex_rate)
    surprises = []
    for user in range(60):
        episode = world.build_episode(user)
        surprises += [episode.get_reaction(s, s % 5).reward - episode.expected_reward[s, s % 5] for s in range(120)]
    assert abs(np.mean(surprises)) < 5 * np.std(surprises) / np.sqrt(len(surprises))


def test_every_task_feature_that_the_persona_cares_about_moves_the_expected_reward_and_no_other_does() -> None:
    fond = Persona(name="fond", prefers_high_priority=1, prefers_overdue=1)
    cold = Persona(name="cold", prefers_high_priority=0, prefers_overdue=0.5)
    caring, indifferent = (World(personas=(persona,), seed=2).build_episode(0) for persona in (fond, cold))
    slates = caring.slates
    assert (indifferent.expected_reward == indifferent.expected_reward[0, 0]).all()
    keys = [
        priority + 10 * overdue for priority, overdue in zip(slates.priority.flat, slates.is_overdue.flat, strict=True)
    ]
    by_task = {key: {r for k, r in zip(keys, caring.expected_reward.flat, strict=True) if k == key} for key in keys}
    assert all(len(rewards) == 1 for rewards in by_task.values())
    assert len({rewards.pop() for rewards in by_task.values()}) == 8


def test_the_oracle_is_at_least_the_random_policy_at_every_step_and_clearly_better_on_the_whole() -> None:
    episodes = [WORLD.build_episode(user) for user in range(14)]
    gains = np.concatenate([episode.oracle_reward - episode.random_reward for episode in episodes])
    assert gains.min() >= 0
    assert gains.mean() > 0.1
    assert all((e.oracle_reward[:, None] >= e.expected_reward).all() for e in episodes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("personas", ()),
        ("seed", -1),
        ("days", 0),
        ("decisions_per_day", 0),
        ("candidates", 0),
        ("candidates", 1001),
        ("day_of_week", 7),
        ("reflex_rate", 1.5),
        ("reflex_rate", float("nan")),
    ],
)
def test_a_world_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        replace(WORLD, **{field: value})
    assert [error.field for error in caught.value.errors] == [field]
