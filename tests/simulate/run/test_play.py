"""One user's run: what is packed comes back, and what was played is never asked again."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.bandit.rewards import compute_reaction_reward
from bandstand.errors import ConfigurationError
from bandstand.simulate.judges.judge import JudgedReaction, ReactionJudge, RuleJudge
from bandstand.simulate.run.learner import ChatFeedback, LocalCohort, ScoredPick
from bandstand.simulate.run.play import Play, PlayedStep, decode_steps, encode_steps, play_cohort
from bandstand.simulate.world.reaction import ACTIONS, Reaction
from bandstand.simulate.world.world import Episode
from tests.simulate.given import CATALOGUE, WORLD, CountingJudge

EPISODES = [WORLD.build_episode(user) for user in range(3)]
STEPS = 20


async def take(
    judge: ReactionJudge, past: Sequence[Sequence[PlayedStep]] = ((), (), ()), at_once: int | None = None
) -> list[Play]:
    """Play three users, from where they were."""
    plays = [Play(list(each), start=len(each)) for each in past]
    held = None if at_once is None else asyncio.Semaphore(at_once)
    await play_cohort(EPISODES, LocalCohort(CATALOGUE.policies["egreedy-v1"], EPISODES), judge, plays, at_once=held)
    return plays


def list_outcomes(plays: Sequence[Play]) -> list[list[tuple[int, Reaction]]]:
    return [[(past.pick, past.judged.reaction) for past in each.steps] for each in plays]


_JUDGES = st.sampled_from([("rule", None), ("llm", None), ("rule", "llm-timeout"), ("rule", "exit-3")])
_STEPS = st.lists(
    st.builds(
        lambda pick, action, dwell, judge: PlayedStep(
            pick, JudgedReaction(Reaction(action, dwell, compute_reaction_reward(action, dwell)), *judge)
        ),
        st.integers(0, 999),
        st.sampled_from(ACTIONS),
        st.integers(0, 2**32 - 1),
        _JUDGES,
    )
)


@given(_STEPS)
def test_what_is_packed_comes_back(steps: list[PlayedStep]) -> None:
    assert decode_steps(encode_steps(steps)) == steps
    assert sum(len(column) for column in encode_steps(steps)[:4]) == 8 * len(steps)


async def test_a_run_is_as_long_as_the_episode_and_the_learner_hears_every_reward() -> None:
    cohort = LocalCohort(CATALOGUE.policies["egreedy-v1"], EPISODES)
    plays = [Play() for _ in EPISODES]
    await play_cohort(EPISODES, cohort, RuleJudge(), plays)
    for into, learner in zip(plays, cohort.learners, strict=True):
        assert len(into.steps) == len(into.decisions) == STEPS
        (state,) = learner.profile.policies.values()
        assert (state.pulls, state.reward_count) == (STEPS, STEPS)
        assert state.cumulative_reward == pytest.approx(sum(past.judged.reaction.reward for past in into.steps))
        assert state.explores == sum(decided.exploring for decided in into.decisions)


@pytest.mark.parametrize("at_once", [None, 1, 2, 50])
async def test_played_on_from_anywhere_it_ends_the_same_and_asks_only_for_the_rest(at_once: int | None) -> None:
    full, judge = await take(RuleJudge()), CountingJudge()
    reached = (0, 7, STEPS)
    past = [each.steps[:length] for each, length in zip(full, reached, strict=True)]
    again = await take(judge, past, at_once)
    assert list_outcomes(again) == list_outcomes(full)
    assert [each.decisions for each in again] == [
        each.decisions[length:] for each, length in zip(full, reached, strict=True)
    ]
    names = [episode.persona.name for episode in EPISODES]
    asked = sorted((names.index(name), step) for name, step, _ in judge.asked)
    assert asked == [(user, step) for user in range(3) for step in range(reached[user], STEPS)]


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 2), (50, 3)])
async def test_no_more_are_waited_for_at_once_than_allowed(at_once: int, most: int) -> None:
    judge = CountingJudge(seconds=0.001)
    await take(judge, at_once=at_once)
    assert judge.most_at_once == most


async def test_a_past_that_no_longer_fits_is_refused() -> None:
    past = [each.steps for each in await take(RuleJudge())]
    past[1][4] = PlayedStep((past[1][4].pick + 1) % 5, past[1][4].judged)
    with pytest.raises(ConfigurationError, match="decide otherwise"):
        await take(RuleJudge(), [each[:10] for each in past])


class _Remembering:
    """A learner whose state outlives the process: it may be asked for new steps only."""

    is_persistent = True

    def __init__(self) -> None:
        self.steps: list[int] = []

    async def decide(self, step: int) -> ScoredPick:
        self.steps.append(step)
        return ScoredPick(0, 0.0, 1.0, exploring=False)

    async def learn(self, reaction: Reaction, heard: ChatFeedback | None = None) -> None:
        pass


class _RememberingCohort:
    def __init__(self) -> None:
        self.learners = [_Remembering()]

    def end_round(self) -> None:
        pass


async def test_a_learner_that_remembers_is_not_taught_twice() -> None:
    cohort = _RememberingCohort()
    into = Play((await take(RuleJudge()))[0].steps[:12], start=12)
    await play_cohort(EPISODES[:1], cohort, RuleJudge(), [into])
    assert cohort.learners[0].steps == list(range(12, STEPS))
    assert len(into.steps) == STEPS


@pytest.mark.parametrize("at_once", [1, 3])
async def test_cancelled_it_holds_what_is_done(at_once: int) -> None:
    stop = asyncio.Event()
    judge = CountingJudge(stop, after=20, seconds=0.001)
    plays = [Play() for _ in EPISODES]
    cohort = LocalCohort(CATALOGUE.policies["egreedy-v1"], EPISODES)
    playing = asyncio.create_task(play_cohort(EPISODES, cohort, judge, plays, at_once=asyncio.Semaphore(at_once)))
    await stop.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert 15 <= sum(len(each.steps) for each in plays) < 3 * STEPS
    full = list_outcomes(await take(RuleJudge()))
    assert list_outcomes(plays) == [each[: len(into.steps)] for each, into in zip(full, plays, strict=True)]


async def test_a_failure_ends_the_round_and_is_raised_as_it_is() -> None:
    class Broken:
        async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await take(Broken(), at_once=2)
