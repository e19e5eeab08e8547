"""One user's run: what is packed comes back, and what was played is never asked again."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.errors import ConfigurationError
from bandstand.bandit.rewards import reaction_reward
from bandstand.simulate.judge import Judged, RuleJudge
from bandstand.simulate.learner import LocalLearner
from bandstand.simulate.play import Past, Play, packed, play, unpacked
from bandstand.simulate.reaction import ACTIONS, Reaction
from tests.simulate.given import CATALOGUE, WORLD, CountingJudge

EPISODE = WORLD.episode(0)


def learner(policy: str = "egreedy-v1") -> LocalLearner:
    return LocalLearner(CATALOGUE.policies[policy], EPISODE)


async def whole() -> Play:
    into = Play()
    await play(EPISODE, learner(), RuleJudge(), into)
    return into


_JUDGES = st.sampled_from([("rule", None), ("llm", None), ("rule", "llm-timeout"), ("rule", "exit-3")])
_STEPS = st.lists(
    st.builds(
        lambda pick, action, dwell, judge: Past(
            pick, Judged(Reaction(action, dwell, reaction_reward(action, dwell)), *judge)
        ),
        st.integers(0, 999),
        st.sampled_from(ACTIONS),
        st.integers(0, 2**32 - 1),
        _JUDGES,
    )
)


@given(_STEPS)
def test_what_is_packed_comes_back(steps: list[Past]) -> None:
    assert unpacked(packed(steps)) == steps
    assert sum(len(column) for column in packed(steps)[:4]) == 8 * len(steps)


async def test_a_run_is_as_long_as_the_episode_and_the_learner_hears_every_reward() -> None:
    meets = learner()
    into = Play()
    await play(EPISODE, meets, RuleJudge(), into)
    assert len(into.steps) == len(EPISODE.policy_draws) == 20
    (state,) = meets.profile.policies.values()
    assert (state.pulls, state.reward_count) == (20, 20)
    assert state.cumulative_reward == pytest.approx(sum(step.judged.reaction.reward for step in into.steps))
    assert state.explores == sum(step.decided.exploring for step in into.steps)


@pytest.mark.parametrize("reached", [0, 1, 13, 20])
async def test_played_on_from_anywhere_it_ends_the_same_and_asks_only_for_the_rest(reached: int) -> None:
    full, judge, into = await whole(), CountingJudge(), Play()
    past = full.past()
    await play(EPISODE, learner(), judge, into, past[:reached])
    assert [(step.decided, step.judged.reaction) for step in into.steps] == [
        (step.decided, step.judged.reaction) for step in full.steps
    ]
    assert [step for _, step, _ in judge.asked] == list(range(reached, 20))


async def test_a_past_that_no_longer_fits_is_refused() -> None:
    past = (await whole()).past()
    past[4] = Past((past[4].pick + 1) % 5, past[4].judged)
    with pytest.raises(ConfigurationError, match="decide otherwise"):
        await play(EPISODE, learner(), RuleJudge(), Play(), past)


async def test_cancelled_it_holds_what_is_done() -> None:
    into = Play()
    playing = asyncio.create_task(play(EPISODE, learner(), CountingJudge(seconds=0.01), into))
    while len(into.steps) < 5:
        await asyncio.sleep(0.005)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    full = await whole()
    assert 5 <= len(into.steps) < 20
    assert [step.decided for step in into.steps] == [step.decided for step in full.steps[: len(into.steps)]]
