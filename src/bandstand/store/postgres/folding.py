"""The fold of a user's events, in the order of their numbers, into an earlier profile of the user."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import from_json

from bandstand.bandit.features import read_features
from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import Profile, StateKey
from bandstand.errors import InvalidRequestError
from bandstand.store.records import Array, Updates
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.updates import build_shadow_updates, build_updates, list_learners

_AT_ONCE = 256
"""Rewards that are encoded together."""
_PICK = 0
"""A reward's request holds its pick alone."""
EVENT_COLUMNS = "n, kind, policy, ts, value, weight, features, picked, shadow_set, held, document"
Event = Any
"""A row of ``events_of``."""


def fold_events(registry: PolicyRegistry, profile: Profile, events: Sequence[Event]) -> bool:
    """Fold the events after those that the profile holds; it is moved in place.

    A reward that one of them takes back is skipped; what the profile held before is subtracted.

    Returns:
        Whether the sums are exact; others are better folded again from the beginning.
    """
    start, exact = profile.seq, True
    for first in range(0, len(events), _AT_ONCE):
        newer = [event for event in events[first : first + _AT_ONCE] if event["n"] > start]
        exact = _fold_newer(registry, profile, newer, start, exact=exact)
    return exact


def _fold_newer(
    registry: PolicyRegistry, profile: Profile, events: Sequence[Event], start: int, *, exact: bool
) -> bool:
    encoded = _encode_rewards(registry, events)
    for event in events:
        n = event["n"]
        match event["kind"]:
            case "reward":
                _apply_reward(registry, profile, event, encoded.get(n))
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


def _encode_rewards(registry: PolicyRegistry, events: Sequence[Event]) -> dict[int, Array]:
    """The features x, shape (d,), of rewards by their numbers: those of one policy are encoded together.

    What is missing is to be encoded by itself: what is alone, what came with its own features, and what cannot be.
    """
    by_policy: dict[int, list[Event]] = {}
    for event in events:
        if event["kind"] == "reward" and event["features"] is None:
            by_policy.setdefault(event["policy"], []).append(event)
    found: dict[int, Array] = {}
    for policy, rewards in by_policy.items():
        if len(rewards) == 1:
            continue
        requests = [from_json(unpack_body(event["picked"])) for event in rewards]
        contexts = [request.get("context", {}) for request in requests]
        values = [read_features(request["candidates"][_PICK]) for request in requests]
        try:
            x = registry.encode_requests(registry.get_ref(policy), contexts, values)
        except InvalidRequestError:  # one of them is too large
            continue
        found.update((event["n"], row) for event, (row,) in zip(rewards, x, strict=True))
    return found


def _apply_reward(registry: PolicyRegistry, profile: Profile, event: Event, x: Array | None) -> None:
    if x is None:
        updates = _read_updates(registry, event)
    else:
        ref, raw = registry.get_ref(event["policy"]), (event["features"], event["picked"], _PICK)
        updates = ((ref, x), *build_shadow_updates(registry, ref, event["shadow_set"], *raw))
    for learner, row in updates:
        memory = registry.get_memory(learner.name)
        profile.apply_reward(event["n"], learner.key, event["ts"], row, event["value"], event["weight"], *memory)


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
