"""What is simulated is what is served: the lean learner and the service decide and learn the same, to the last bit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.bandit.memory import SECONDS_PER_DAY
from bandstand.bandit.policies import LinUCB
from bandstand.service import reward, score
from bandstand.service.context import ServiceContext
from bandstand.simulate.judges.judge import JudgedReaction, RuleJudge
from bandstand.simulate.run.learner import LocalCohort
from bandstand.simulate.run.play import Play, play_cohort
from bandstand.simulate.run.population import SimulatedPopulation
from bandstand.simulate.world.persona import make_personas
from bandstand.simulate.world.reaction import Reaction
from bandstand.simulate.world.world import Episode
from bandstand.testing.memory_store import MemoryStore
from tests.simulate.given import CATALOGUE, WORLD

SECRET = b"the deployment's own"


@pytest.mark.parametrize("name", sorted(CATALOGUE.policies))
async def test_every_policy_decides_and_learns_as_it_does_when_served(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = CATALOGUE.policies[name]
    episode = WORLD.build_episode(2)
    steps = len(episode.policy_draws)
    ids = [f"decision-{step}" for step in range(steps)]
    # The service draws from its secret and the decision's id: let the simulation have the same draws.
    episode = replace(episode, policy_draws=np.array([hash_to_uniform(SECRET, each) for each in ids]))

    into = Play()
    cohort = LocalCohort(policy, [episode])
    await play_cohort([episode], cohort, RuleJudge(), [into])
    learner = cohort.learners[0]

    times = iter(np.repeat(episode.times, 2).tolist())
    store = MemoryStore(CATALOGUE, secret=SECRET)
    deployment = ServiceContext(CATALOGUE, store, active_policy=name, clock=lambda: next(times))
    # Serving learns the prior in a thread, when it comes to it; here it is learned when the simulation does.
    population = SimulatedPopulation(policy)
    if policy.learns_prior:
        monkeypatch.setattr(ServiceContext, "get_priors", lambda *asked: list(map(population.get_prior, asked[-1])))
    for step, (decided, (_, judged, _)) in enumerate(zip(into.decisions, into.steps, strict=True)):
        request = {
            "user_id": "ada",
            "decision_id": ids[step],
            "context": episode.slates.get_context(step),
            "candidates": episode.slates.get_candidates(step),
        }
        scored = await score.score(deployment, request, body=json.dumps(request).encode(), client="test")
        assert scored.tip_id == episode.slates.get_candidate_id(step, decided.pick)
        assert (scored.score, scored.propensity, scored.exploring) == decided[1:]
        reaction = {"action": judged.reaction.action, "dwell_ms": judged.reaction.dwell_ms}
        taught = await reward.reward(deployment, {"decision_id": ids[step], "reaction": reaction}, client="test")
        assert taught.reward == judged.reaction.reward
        profile = await store.load_profile("ada")
        population.update("ada", profile.policies[policy.name, policy.schema.name].ridge)
        population.refresh()

    served, simulated = (await store.load_profile("ada")), learner.profile
    key = (policy.name, policy.schema.name)
    assert simulated.policies.keys() == served.policies.keys() == {key}
    assert simulated.policies[key].to_json() == served.policies[key].to_json()


@pytest.mark.parametrize("schema", sorted(CATALOGUE.schemas))
def test_an_episode_is_encoded_as_its_requests_are(schema: str) -> None:
    slates = WORLD.build_episode(1).slates
    x = slates.encode(CATALOGUE.schemas[schema])
    for step in range(len(slates.hour_of_day)):
        features = [candidate["features"] for candidate in slates.get_candidates(step)]
        assert np.array_equal(x[step], CATALOGUE.schemas[schema].encode(slates.get_context(step), features))


async def test_users_teach_each_other_only_where_the_policy_asks_for_it() -> None:
    episodes = [WORLD.build_episode(user) for user in range(14)]
    for policy in CATALOGUE.policies.values():
        together, alone = LocalCohort(policy, episodes), LocalCohort(policy, episodes[:1])
        plays = [Play() for _ in episodes]
        await play_cohort(episodes, together, RuleJudge(), plays)
        await play_cohort(episodes[:1], alone, RuleJudge(), [only := Play()])
        scores = [[decided.score for decided in each.decisions] for each in (plays[0], only)]
        assert (scores[0] == scores[1]) == (not policy.learns_prior)


class TurningJudge:
    """Users who like engaging things until a day, and from then on the others."""

    def __init__(self, day: int) -> None:
        self._ts = day * SECONDS_PER_DAY

    async def react(self, episode: Episode, step: int, pick: int) -> JudgedReaction:
        liking = 4.0 * float(episode.engagement[step, pick]) - 1.5
        return JudgedReaction(Reaction("done", 0, -liking if episode.times[step] >= self._ts else liking), "test", "")


async def test_a_policy_that_adapts_its_memory_finds_out_once_a_day_and_folds_everybody_again() -> None:
    parameters = {"half_life": "auto", "alpha": 0.5, "floor": 0.5}
    policy = LinUCB("adaptive", CATALOGUE.schemas["tips-v2"], parameters)
    world = replace(WORLD, personas=make_personas("uniform", 4, 0), days=22)
    episodes = [world.build_episode(user) for user in range(4)]
    cohort = LocalCohort(policy, episodes)
    await play_cohort(episodes, cohort, TurningJudge(18), [Play() for _ in episodes])
    states = [learner.profile.policies["adaptive", "tips-v2"] for learner in cohort.learners]
    [(half_life, since)] = {(state.half_life, state.since) for state in states}
    assert half_life or since >= 17 * SECONDS_PER_DAY
    for episode, state in zip(episodes, states, strict=True):
        assert state.reward_count == len(episode.times)
        assert state.ridge is not None
        assert state.ridge.weight < len(episode.times)
