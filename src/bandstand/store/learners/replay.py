"""Replay: a user's state made again from the ledger's events, by the same folds that made it live."""

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.store.learners.event_times import EventTimes
from bandstand.store.records import LAST_SEQ, PolicyRef, Updates
from bandstand.store.tables.decisions import find_uid
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.updates import build_updates, list_learners

_DECISIONS = """SELECT seq, 'decision', policy, ts, exploring FROM decisions
    WHERE seq IN (SELECT seq FROM user_decisions WHERE uid = ? AND seq > ? AND seq <= ?) ORDER BY seq"""
_REWARDS = """SELECT r.seq, iif(v.seq IS NULL, 'reward', 'reward revoked'), r.policy, r.ts, r.value, r.weight,
        r.features, d.body, d.pick
    FROM rewards AS r LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq AND v.seq <= ?3
    WHERE r.seq IN (SELECT seq FROM user_rewards WHERE uid = ?1 AND seq > ?2 AND seq <= ?3) AND r.applied
    ORDER BY r.seq"""
_REVOCATIONS = """SELECT v.seq, 'revocation', r.policy, r.ts, r.value, r.weight, r.features, d.body, d.pick, r.seq
    FROM revocations AS v JOIN rewards AS r ON r.seq = v.reward_seq
    LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    WHERE v.uid = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq"""
_MARKS = """SELECT seq, kind, document FROM marks
    WHERE uid = ? AND seq > ? AND seq <= ? AND kind IN ('reset', 'import') ORDER BY seq"""
_BASELINE = "SELECT document FROM marks WHERE uid = ? AND kind = 'baseline' ORDER BY seq DESC LIMIT 1"

# Conditions on a user's key ?1 and an event number ?2, for a SELECT without tables.
IS_TRIMMED = """EXISTS (SELECT 1 FROM (SELECT document ->> '$.ledger_seq' AS seq FROM marks
    WHERE uid = ?1 AND kind = 'baseline' ORDER BY seq DESC LIMIT 1) WHERE seq >= ?2)"""
"""Retention has put a baseline in the place of events up to this one and later."""
HAS_EVENT = """(EXISTS (SELECT 1 FROM decisions WHERE seq = ?2 AND uid = ?1)
    OR EXISTS (SELECT 1 FROM rewards WHERE seq = ?2 AND uid = ?1)
    OR EXISTS (SELECT 1 FROM revocations WHERE seq = ?2 AND uid = ?1)
    OR EXISTS (SELECT 1 FROM marks WHERE seq = ?2 AND uid = ?1))"""
"""It is an event of this user: a checkpoint of events that the ledger lost must not be believed."""
HAS_REVOCATION_SINCE = "EXISTS (SELECT 1 FROM revocations WHERE uid = ?1 AND seq > ?2)"
"""Something of this user was taken back after it."""
HAS_LATER_EVENT = f"""(EXISTS (SELECT 1 FROM user_decisions WHERE uid = ?1 AND seq > ?2)
    OR EXISTS (SELECT 1 FROM user_rewards WHERE uid = ?1 AND seq > ?2)
    OR {HAS_REVOCATION_SINCE}
    OR EXISTS (SELECT 1 FROM marks WHERE uid = ?1 AND seq > ?2 AND kind IN ('reset', 'import')))"""  # noqa: S608 (constants)
"""There is something to replay after it."""


def load_baseline(connection: sqlite3.Connection, uid: int) -> Profile | None:
    """The state that retention kept in place of the events it trimmed."""
    row = connection.execute(_BASELINE, (uid,)).fetchone()
    return None if row is None else Profile.from_json(json.loads(row[0]))


def has_event(connection: sqlite3.Connection, uid: int, seq: int) -> bool:
    """Whether ``seq`` is an event of this user."""
    return bool(connection.execute(f"SELECT {HAS_EVENT}", (uid, seq)).fetchone()[0])


def rebuild_profile(
    connection: sqlite3.Connection, registry: PolicyRegistry, uid: int, user_id: str, until: int = LAST_SEQ
) -> Profile:
    """The user's state from the ledger alone, as of the event ``until``."""
    start = load_baseline(connection, uid) or Profile(user_id)
    return replay_events(connection, registry, uid, start, until)


def replay_events(
    connection: sqlite3.Connection, registry: PolicyRegistry, uid: int, profile: Profile, until: int = LAST_SEQ
) -> Profile:
    """``profile`` with the user's later events, up to ``until``, folded in; it is moved in place and returned.

    A reward that one of these events takes back is not folded in and then subtracted, but skipped: what is left is
    exact. Only what ``profile`` holds already is subtracted.
    """
    restart_memories(registry, profile)
    start, cold = profile.seq, {key for key, state in profile.policies.items() if state.ridge is None}
    times = EventTimes(connection, uid, start)
    for event in _iter_events(connection, uid, start, until):
        match event:
            case (seq, "decision", policy, ts, exploring):
                key = registry.get_ref(policy).key
                profile.apply_decision(seq, key, times.get_time(seq, ts), exploring=bool(exploring))
                profile.get_state(key).last_updated = ts
            case (seq, "reward", policy, ts, value, weight, *raw):
                updates = build_updates(registry, registry.get_ref(policy), seq, *raw)
                _apply_updates(registry, profile, updates, (seq, times.get_time(seq, ts), value, weight))
                _set_last_updated(profile, (learner for learner, _ in updates), ts)
            case (seq, "reward revoked", policy, ts, _, _, *raw):
                learners = list_learners(registry, registry.get_ref(policy), seq, *raw)
                _skip_reward(registry, profile, learners, seq, times.get_time(seq, ts))
                _set_last_updated(profile, learners, ts)
            case (seq, "revocation", policy, ts, value, weight, *raw, reward_seq) if reward_seq <= start:
                updates = build_updates(registry, registry.get_ref(policy), reward_seq, *raw)
                # A migration has taken the sums of what is cold out of the baseline.
                held = tuple(lesson for lesson in updates if lesson[0].key not in cold)
                _apply_revocation(profile, held, seq, times.get_time(reward_seq, ts), value, weight)
            case (seq, "revocation", *_):
                profile.seq = seq  # what it takes back was skipped
            case (seq, "reset", _):
                profile.apply_reset(seq)
            case (seq, "import", document):
                imported = Profile.from_json(json.loads(document))
                profile.apply_import(seq, imported)
    return profile


def _apply_updates(
    registry: PolicyRegistry, profile: Profile, updates: Updates, reward: tuple[int, float, float, float]
) -> None:
    seq, ts, value, weight = reward
    for learner, x in updates:
        profile.apply_reward(seq, learner.key, ts, x, value, weight, *registry.get_memory(learner.name))


def _set_last_updated(profile: Profile, learners: Iterable[PolicyRef], ts: float) -> None:
    """What is shown of an event is how it is dated, whatever time it counts as of."""
    for learner in learners:
        profile.get_state(learner.key).last_updated = ts


def _skip_reward(
    registry: PolicyRegistry, profile: Profile, learners: Iterable[PolicyRef], seq: int, ts: float
) -> None:
    for learner in learners:
        profile.apply_skipped_reward(seq, learner.key, ts, *registry.get_memory(learner.name))


def restart_memories(registry: PolicyRegistry, profile: Profile) -> None:
    """Release sums that hold nothing from after the day on which their policy's memory begins."""
    for key in profile.policies:
        profile.restart(key, registry.get_memory(key[0]).since)


def list_taught_rewards(
    connection: sqlite3.Connection, registry: PolicyRegistry, user_id: str, key: StateKey
) -> list[TaughtReward]:
    """What a policy was taught of a user since the last reset, the oldest first, but for what was taken back."""
    uid = find_uid(connection, user_id)
    times = None if uid is None else EventTimes(connection, uid, 0)
    taught: list[TaughtReward] = []
    for event in () if uid is None else _iter_events(connection, uid, 0, LAST_SEQ):
        match event:
            case (seq, "reward", policy, ts, value, weight, *raw):
                updates = build_updates(registry, registry.get_ref(policy), seq, *raw)
                at = ts if times is None else times.get_time(seq, ts)
                taught += [TaughtReward(at, x, value, weight) for learner, x in updates if learner.key == key]
            case (_, "reset" | "import", *_):
                taught.clear()
    return taught


def _apply_revocation(profile: Profile, updates: Updates, seq: int, ts: float, value: float, weight: float) -> None:
    for learner, x in updates:
        profile.apply_revocation(seq, learner.key, ts, x, value, weight)
    profile.seq = seq


def _iter_events(connection: sqlite3.Connection, uid: int, after: int, until: int) -> Iterator[tuple[Any, ...]]:
    bounds = (uid, after, until)
    cursors = [connection.execute(query, bounds) for query in (_DECISIONS, _REWARDS, _REVOCATIONS, _MARKS)]
    return heapq.merge(*cursors, key=itemgetter(0))
