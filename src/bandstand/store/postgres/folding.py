"""The fold of a user's events, in the order of their numbers, into an earlier profile of the user."""

import json
from collections.abc import Iterable
from typing import Any

from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.store.records import Updates
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.updates import build_updates, list_learners

_PICK = 0
"""A reward's request holds its pick alone."""
EVENT_COLUMNS = "n, kind, policy, ts, value, weight, features, picked, shadow_set, held, document"
Event = Any
"""A row of ``events_of``."""


def fold_events(registry: PolicyRegistry, profile: Profile, events: Iterable[Event]) -> bool:
    """Fold the events after those that the profile holds; it is moved in place.

    A reward that one of them takes back is skipped; what the profile held before is subtracted.

    Returns:
        Whether the sums are exact; others are better folded again from the beginning.
    """
    start, exact = profile.seq, True
    for event in events:
        n = event["n"]
        if n <= start:
            continue
        match event["kind"]:
            case "reward":
                _apply_reward(registry, profile, event)
            case "reward revoked":
                _skip_reward(registry, profile, event)
            case "revocation" if event["held"] <= start:
                exact = _apply_revocation(registry, profile, event) and exact
            case "reset":
                profile.apply_reset(n)
                exact = True
            case "import":
                profile.apply_import(n, Profile.from_json(json.loads(event["document"])))
        profile.seq = n
    return exact


def _apply_reward(registry: PolicyRegistry, profile: Profile, event: Event) -> None:
    for learner, x in _read_updates(registry, event):
        memory = registry.get_memory(learner.name)
        profile.apply_reward(event["n"], learner.key, event["ts"], x, event["value"], event["weight"], *memory)


def _skip_reward(registry: PolicyRegistry, profile: Profile, event: Event) -> None:
    ref, raw = registry.get_ref(event["policy"]), (event["features"], event["picked"], _PICK)
    for learner in list_learners(registry, ref, event["shadow_set"], *raw):
        profile.apply_skipped_reward(event["n"], learner.key, event["ts"], *registry.get_memory(learner.name))


def _apply_revocation(registry: PolicyRegistry, profile: Profile, event: Event) -> bool:
    exact = True
    for learner, x in _read_updates(registry, event):
        if learner.key in profile.policies:
            revoked = (event["ts"], x, event["value"], event["weight"])
            exact = profile.apply_revocation(event["n"], learner.key, *revoked) and exact
    return exact


def list_taught(registry: PolicyRegistry, events: Iterable[Event], key: StateKey) -> list[TaughtReward]:
    """What a policy was taught of a user since the last reset, the oldest first, but for what was taken back."""
    taught: list[TaughtReward] = []
    for event in events:
        match event["kind"]:
            case "reward":
                taught += [
                    TaughtReward(event["ts"], x, event["value"], event["weight"])
                    for learner, x in _read_updates(registry, event)
                    if learner.key == key
                ]
            case "reset" | "import":
                taught.clear()
    return taught


def _read_updates(registry: PolicyRegistry, event: Event) -> Updates:
    ref = registry.get_ref(event["policy"])
    return build_updates(registry, ref, event["shadow_set"], event["features"], event["picked"], _PICK)
