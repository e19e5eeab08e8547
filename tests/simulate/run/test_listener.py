import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bandstand.judge.gate import Gate
from bandstand.judge.training.tier import Tier
from bandstand.judge.verdict import Unscored, UnscoredReason
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import ChatPlan, Plan
from bandstand.simulate.run.learner import ChatFeedback, LocalCohort, LocalLearner
from bandstand.simulate.run.listener import ChatCohort, ChatLearner, ChatPlayers, JudgeListener, Listener, TruthListener
from bandstand.simulate.run.play import Play, decode_steps, encode_steps, play_cohort
from bandstand.simulate.run.result import build_result
from bandstand.simulate.run.runner import LocalPlayers, Runner
from bandstand.simulate.world.chat import load_taxonomy
from bandstand.simulate.world.persona import load_shipped_personas
from bandstand.simulate.world.world import Episode, World
from tests.judge.given import local
from tests.simulate.given import CATALOGUE, Journal, is_close

WORLD = World(personas=load_shipped_personas(), seed=7, days=5, conversations=True)
TALKING = Plan(policies=("linucb-v1", "linucb-v2"), personas=3, days=5, seeds=2, events="all", chat=ChatPlan())
LISTENING = JudgeListener(local(), Gate())


class Oracle:
    """Listens to nothing, and says what it was made to say; counts how often it was asked."""

    def __init__(self, heard: Callable[[Episode, int, int], ChatFeedback]) -> None:
        self.asked = 0
        self._heard = heard

    async def read_message(self, episode: Episode, step: int, pick: int) -> ChatFeedback:
        self.asked += 1
        return self._heard(episode, step, pick)


def say_nothing(_episode: Episode, _step: int, _pick: int) -> ChatFeedback:
    return ChatFeedback(None, None)


def build_chat_runner(listener: Listener, plan: Plan = TALKING, **more: object) -> Runner:
    return Runner(plan, ChatPlayers(LocalPlayers(CATALOGUE.policies), listener), RuleJudge(), **more)  # type: ignore[arg-type]  # by name


async def play_chat(listener: Listener, plan: Plan = TALKING, **more: object) -> Runner:
    playing = build_chat_runner(listener, plan, **more)
    assert await playing.run(asyncio.Event())
    return playing


async def test_the_truth_teaches_the_label_s_reward_and_never_a_change_of_topic() -> None:
    episode, labels = WORLD.build_episode(0), set()
    for step in range(20):
        for pick in range(5):
            meant = episode.get_reaction(step, pick)
            heard = await TruthListener().read_message(episode, step, pick)
            assert heard == ChatFeedback(meant.action, None if meant.action == "topic_shift" else meant.reward)
            labels.add(meant.action)
    assert labels == set(load_taxonomy().label_names)


@pytest.mark.parametrize("gate", [Gate(), Gate(tau=0.9), Gate(mode="soft")])
async def test_a_judge_reads_the_turn_and_the_gate_decides_what_it_teaches(gate: Gate) -> None:
    episode = WORLD.build_episode(1)
    for step in range(20):
        judged = local().verdict(episode.get_turn(step, 2).cut())
        applied = gate.apply(judged, load_taxonomy())
        heard = await JudgeListener(local(), gate).read_message(episode, step, 2)
        assert heard == ChatFeedback(judged.label, applied.reward if applied.should_update else None)


async def test_what_nobody_could_say_teaches_nothing() -> None:
    class Silent:
        name, model, taxonomy = "llm", "m@1", load_taxonomy()

        async def judge(self, _turn: object) -> Unscored:
            return Unscored(taxonomy="followup-v1", reason=UnscoredReason.TIMEOUT, tier="llm", model="m@1")

    judge: Tier = Silent()
    assert await JudgeListener(judge, Gate()).read_message(WORLD.build_episode(0), 0, 0) == ChatFeedback(None, None)


async def test_a_policy_learns_what_was_heard_and_no_more() -> None:
    episode = WORLD.build_episode(0)
    policy = CATALOGUE.get_policy("linucb-v1")
    rewards = iter([0.8, None, -0.25])
    inner = LocalLearner(policy, episode)
    learner = ChatLearner(inner, episode, Oracle(lambda *_: ChatFeedback("neutral", next(rewards))))
    for step in range(3):
        decided = await learner.decide(step)
        await learner.learn(episode.get_reaction(step, decided.pick))
    (state,) = inner.profile.policies.values()
    assert (state.pulls, state.reward_count) == (3, 2)
    assert state.cumulative_reward == pytest.approx(0.55)


async def test_a_step_taken_again_teaches_what_it_taught_and_is_not_read_again() -> None:
    episodes = [WORLD.build_episode(user) for user in range(3)]
    first, again = Oracle(read_softly), Oracle(read_softly)
    policy = CATALOGUE.get_policy("linucb-v2")

    def make_cohort(listener: Listener) -> ChatCohort:
        return ChatCohort(LocalCohort(policy, episodes), episodes, listener)

    into = [Play() for _ in episodes]
    await play_cohort(episodes, make_cohort(first), RuleJudge(), into)
    resumed = [Play(decode_steps(encode_steps(each.steps[:8])), start=8) for each in into]
    await play_cohort(episodes, make_cohort(again), RuleJudge(), resumed)
    assert [each.steps for each in resumed] == [each.steps for each in into]
    assert (first.asked, again.asked) == (3 * 20, 3 * 12)


def read_softly(episode: Episode, step: int, pick: int) -> ChatFeedback:
    judged = local().verdict(episode.get_turn(step, pick).cut())
    taught = Gate(mode="soft").apply(judged, load_taxonomy())
    return ChatFeedback(judged.label, taught.reward if taught.should_update else None)


async def test_each_policy_plays_twice_and_the_truth_does_not_hear_the_judge() -> None:
    hearing, deaf = await play_chat(LISTENING), await play_chat(Oracle(say_nothing))
    heard, unheard = hearing.tally.build_summary(), deaf.tally.build_summary()
    assert list(heard["policies"]) == ["linucb-v1", "linucb-v2", "linucb-v1 by truth", "linucb-v2 by truth"]
    for name in ("linucb-v1 by truth", "linucb-v2 by truth"):
        assert is_close(heard["policies"][name] | {"advantage": 0}, unheard["policies"][name] | {"advantage": 0})
    assert heard["policies"]["linucb-v2"] != unheard["policies"]["linucb-v2"]
    assert hearing.decisions_done == TALKING.total == 3 * 20 * 2 * 4


async def test_a_perfect_judge_costs_nothing_and_its_opposite_does() -> None:
    def read_perfectly(episode: Episode, step: int, pick: int) -> ChatFeedback:
        meant = episode.get_reaction(step, pick)
        return ChatFeedback(meant.action, None if meant.action == "topic_shift" else meant.reward)

    def read_wrongly(episode: Episode, step: int, pick: int) -> ChatFeedback:
        meant = episode.get_reaction(step, pick)
        flipped = {"pos_praise": "neg_correction"}.get(meant.action, "pos_praise")
        return ChatFeedback(flipped, -meant.reward)

    plan = replace(TALKING, personas=8, days=15, policies=("linucb-v2",))
    best = (await play_chat(Oracle(read_perfectly), plan)).tally.build_summary()["hearing"]["linucb-v2"]
    assert best["regret_cost"]["mean"] == pytest.approx(0, abs=1e-12)
    assert (best["labels"]["accuracy"], best["polarity"]["macro_f1"]) == (1.0, 1.0)
    assert (best["sign_flips"], best["gated"]["sign_flips"], best["unscored"]) == (0.0, 0.0, 0)
    worst = (await play_chat(Oracle(read_wrongly), plan)).tally.build_summary()["hearing"]["linucb-v2"]
    assert worst["regret_cost"]["mean"] > 0.01
    assert worst["gated"]["sign_flips"] > 0.4


async def test_a_judge_that_says_nothing_leaves_the_policy_where_it_was() -> None:
    found = (await play_chat(Oracle(say_nothing))).tally.build_summary()["hearing"]["linucb-v1"]
    assert (found["turns"], found["unscored"], found["coverage"]) == (120, 120, 0.0)
    assert found["polarity"]["macro_f1"] is found["sign_flips"] is found["gated"]["sign_flips"] is None


async def test_a_run_is_told_again_from_what_was_kept_of_it() -> None:
    journal = Journal()
    first = await play_chat(LISTENING, journal=journal)
    asked = Oracle(say_nothing)
    again = await play_chat(asked, kept=journal.plays.items())
    assert asked.asked == 0
    assert is_close(
        build_result(TALKING, first.tally, run=1, state="done"), build_result(TALKING, again.tally, run=1, state="done")
    )


async def test_an_event_says_what_was_meant_heard_and_taught() -> None:
    journal = Journal()
    await play_chat(LISTENING, journal=journal)
    assert len(journal.events) == TALKING.total
    for seed, user, policy, step, *rest in journal.events:
        episode = TALKING.build_world(seed).build_episode(user)
        past = decode_steps(journal.plays[seed, user, policy])[step]
        action, dwell, reward, *_, judge, fallback, label, taught = rest[10:]
        assert (action, dwell, reward) == episode.get_reaction(step, past.pick)
        assert (judge, fallback, (label, taught)) == ("rule", None, past.feedback)
        if policy.endswith("by truth"):
            assert label == action
            assert taught == (None if action == "topic_shift" else reward)


def test_regret_is_of_what_users_mean_and_not_of_what_was_heard() -> None:
    episode = WORLD.build_episode(5)
    np.testing.assert_array_equal(episode.oracle_reward, episode.expected_reward.max(axis=1))
    assert episode.expected_reward.min() >= -0.46
    assert episode.expected_reward.max() <= 0.34
