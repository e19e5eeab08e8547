"""Memories: each foretells what it remembers, and the one that foretold best is chosen."""

import numpy as np
import pytest

from bandstand.bandit.memory import (
    ENDLESS,
    SECONDS_PER_DAY,
    Memory,
    MemoryTracker,
    TaughtReward,
    choose_memory,
    list_memories,
    score_memories,
)
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.ridge import Prior

D = 3
PRIOR = Prior(np.array([0.1, 0.0, -0.2]), 0.5 * np.eye(D), 0.2)


def histories(days: int, turn: int | None = None, users: int = 12, seed: int = 0) -> list[list[TaughtReward]]:
    """What users taught, four rewards a day; on the day ``turn`` their tastes turn round."""
    rng = np.random.default_rng(seed)
    taught = []
    for _ in range(users):
        taste, history = rng.normal(size=D), []
        for number in range(4 * days):
            ts, x = number / 4 * SECONDS_PER_DAY, rng.normal(size=D)
            sign = -1.0 if turn is not None and number / 4 >= turn else 1.0
            history.append(TaughtReward(ts, x, float(sign * (x @ taste) + 0.4 * rng.normal())))
        taught.append(history)
    return taught


def find_next(taught: list[list[TaughtReward]], day: int, current: Memory = ENDLESS) -> Memory:
    memories, now = list_memories(current, day * SECONDS_PER_DAY), day * SECONDS_PER_DAY
    return choose_memory(memories, score_memories(taught, PRIOR, memories, now))


@pytest.mark.parametrize("memory", [ENDLESS, Memory(7.0), Memory(0.0, 3 * SECONDS_PER_DAY), Memory(3.0)])
def test_a_score_is_of_the_belief_that_serving_would_have_had(memory: Memory) -> None:
    """log N(r | m·x, xᵀVx + σ²) of the very state that is folded under that memory, before each reward is taught."""
    (history,) = histories(8, users=1)
    now, expected, state = 8 * SECONDS_PER_DAY, 0.0, PolicyState()
    for taught in history:
        endless_until_then = memory if taught.ts >= memory.since else ENDLESS
        if taught.ts >= memory.since > state.since:
            state = PolicyState()
        posterior = state.get_posterior(PRIOR, taught.ts)
        if state.ridge is not None and memory.half_life:
            sums = state.ridge.with_decay(2.0 ** (-(taught.ts - state.as_of) / SECONDS_PER_DAY / memory.half_life))
            posterior = sums.compute_posterior(PRIOR)
        row = taught.x[None]
        variance = float(posterior.compute_widths(row)[0]) ** 2 + PRIOR.noise
        error = taught.reward - float(posterior.compute_means(row)[0])
        fade = 2.0 ** (-(now - taught.ts) / SECONDS_PER_DAY / 4.0)
        expected -= 0.5 * fade * (np.log(2.0 * np.pi * variance) + error**2 / variance)
        state.learn(taught.x, taught.reward, 1.0, taught.ts, *endless_until_then)
    (score,) = score_memories([history], PRIOR, [memory], now)
    assert score == pytest.approx(expected, rel=1e-9)


def test_where_tastes_turn_round_memory_begins_again_on_that_day() -> None:
    taught = histories(34, turn=30)
    cut = [[each for each in history if each.ts < 32 * SECONDS_PER_DAY] for history in taught]
    assert find_next(cut, 32) == Memory(since=30 * SECONDS_PER_DAY)


def test_where_nothing_changes_nothing_is_forgotten() -> None:
    assert find_next(histories(30), 30) == ENDLESS


def test_what_began_again_goes_on_while_nothing_changes() -> None:
    begun = Memory(since=30 * SECONDS_PER_DAY)
    assert find_next(histories(50, turn=30), 50, begun) == begun


def test_without_rewards_the_present_memory_stays() -> None:
    begun = Memory(since=30 * SECONDS_PER_DAY)
    assert find_next([[]], 31) == ENDLESS
    assert find_next([], 31, begun) == begun


@pytest.mark.parametrize(
    ("memory", "ts", "weight"),
    [
        (ENDLESS, 0.0, 1.0),
        (Memory(2.0), 8 * SECONDS_PER_DAY, 0.5),
        (Memory(2.0), 11 * SECONDS_PER_DAY, 1.0),
        (Memory(0.0, 9 * SECONDS_PER_DAY), 8 * SECONDS_PER_DAY, 0.0),
        (Memory(0.0, 9 * SECONDS_PER_DAY), 9 * SECONDS_PER_DAY, 1.0),
    ],
)
def test_weights(memory: Memory, ts: float, weight: float) -> None:
    assert memory.weigh(ts, 10 * SECONDS_PER_DAY) == pytest.approx(weight)


def test_a_reward_from_before_is_counted_and_not_learned_and_can_be_taken_back() -> None:
    state, x = PolicyState(), np.ones(D)
    state.learn(x, 1.0, 1.0, 5.0, 0.0, 10.0)
    assert (state.ridge, state.reward_count, state.cumulative_reward) == (None, 1, 1.0)
    state.learn(x, 0.5, 1.0, 12.0, 0.0, 10.0)
    assert state.ridge is not None
    assert (state.ridge.count, state.reward_count) == (1, 2)
    again = PolicyState.from_json(state.to_json())
    assert again.since == 10.0
    assert state.unlearn(x, 1.0, 1.0, 5.0)
    assert (state.ridge.count, state.reward_count, state.cumulative_reward) == (1, 1, 0.5)


def track(taught: list[list[TaughtReward]], *, has_blocks: bool = False) -> list[tuple[int, Memory]]:
    """Return on which days a tracker changed, and to what."""
    tracker, changes = MemoryTracker(has_blocks=has_blocks), []
    for number in range(len(taught[0])):
        ts = taught[0][number].ts
        if tracker.check_day(PRIOR, ts):
            changes.append((int(ts // SECONDS_PER_DAY), tracker.memory))
        for user, history in enumerate(taught):
            tracker.record_reward(str(user), history[number])
    return changes


def test_a_tracker_looks_once_a_day_and_begins_again_where_tastes_turn_round() -> None:
    assert track(histories(16)) == []
    changes = track(histories(34, turn=30))
    assert changes[-1][1] == Memory(since=30 * SECONDS_PER_DAY)
    assert all(day >= 30 for day, _ in changes)
    assert len(changes) == len({day for day, _ in changes})


def test_the_blocks_of_a_user_are_tracked_as_so_many_models() -> None:
    blocked = [
        [taught._replace(x=np.append(taught.x, 2e7 + number % 2)) for number, taught in enumerate(history)]
        for history in histories(36, turn=30)
    ]
    assert track(blocked, has_blocks=True)[-1][1].since >= 29 * SECONDS_PER_DAY


def test_who_is_removed_is_not_looked_at() -> None:
    tracker = MemoryTracker(has_blocks=False)
    for user, history in enumerate(histories(2, users=3)):
        tracker.record_reward(str(user), history[0])
    tracker.remove_user("1")
    tracker.remove_user("nobody")
    assert [user for user, _ in tracker.iter_histories()] == ["0", "2"]


def test_relearning_is_having_learned_under_that_memory() -> None:
    (history,) = histories(8, users=1)
    state = PolicyState()
    for taught in history:
        state.learn(taught.x, taught.reward, taught.weight, taught.ts)
    for memory in (Memory(3.0), Memory(since=4 * SECONDS_PER_DAY), ENDLESS):
        other = PolicyState()
        for taught in history:
            other.learn(taught.x, taught.reward, taught.weight, taught.ts, *memory)
        state.relearn(history, memory)
        assert state.to_json() == other.to_json()
        np.testing.assert_array_equal(state.get_posterior(PRIOR).mean, other.get_posterior(PRIOR).mean)
