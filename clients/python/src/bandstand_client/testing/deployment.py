"""What the fake remembers: decisions, rewards, turns, and which policy is active."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from bandstand_client.testing.request import FakeProblem

ALIASES = {"linucb": "linucb-v1", "egreedy": "egreedy-v1"}
POLICIES = ("linucb-v2", "linucb-v1", "egreedy-v1", "thompson-v1", "squarecb-v1", "uniform-v1", "first-v1")
DEFAULT_POLICY = POLICIES[0]

Picker = Callable[[str, Sequence[str]], str]
"""Says which candidate is picked, of the user and the candidates' ids."""


@dataclass
class FakeReward:
    """The reward that stands for a decision."""

    value: float
    applied: bool
    reason: str | None
    source: str
    body: bytes
    ts: str
    revoked: bool = False


@dataclass
class FakeDecision:
    """A decision as it was made."""

    id: str
    user_id: str
    policy: str
    candidates: list[dict[str, Any]]
    context: dict[str, Any]
    picked: int
    propensity: float
    body: bytes
    ts: str
    excluded: frozenset[str] = frozenset()
    held: bool = False
    reset: bool = False
    reward: FakeReward | None = None
    judgement_id: str | None = None

    @property
    def tip_id(self) -> str:
        """The pick."""
        tip_id: str = self.candidates[self.picked]["id"]
        return tip_id


@dataclass
class FakeDeployment:
    """The whole state."""

    picker: Picker | None
    lock: threading.RLock = field(default_factory=threading.RLock)
    decisions: dict[str, FakeDecision] = field(default_factory=dict)
    keys: dict[tuple[str, str], bytes] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)
    judgements: dict[str, dict[str, Any]] = field(default_factory=dict)
    promotions: list[dict[str, str]] = field(default_factory=list)
    revocations: list[dict[str, Any]] = field(default_factory=list)
    simulations: dict[int, dict[str, Any]] = field(default_factory=dict)
    evaluations: dict[int, dict[str, Any]] = field(default_factory=dict)
    tips: int = 0
    made: int = 0

    @property
    def active(self) -> str:
        """The active policy."""
        return self.promotions[-1]["policy"] if self.promotions else DEFAULT_POLICY

    def find_policy(self, name: str | None) -> str:
        """A policy by its name or alias; the active one without."""
        if name is None:
            return self.active
        policy = ALIASES.get(name, name)
        if policy not in POLICIES:
            raise FakeProblem("unknown-policy", "no such policy")
        return policy

    def find_decision(self, decision_id: str) -> FakeDecision:
        """A decision by its id."""
        decision = self.decisions.get(decision_id)
        if decision is None:
            raise FakeProblem("unknown-decision", "no such decision of this user")
        return decision

    def find_decisions(self, user_id: str | None = None, policy: str | None = None) -> list[FakeDecision]:
        """Those of a user since the last reset, of a policy; all, of whom none is named."""
        return [
            each
            for each in self.decisions.values()
            if (user_id is None or (each.user_id == user_id and not each.reset)) and policy in {None, each.policy}
        ]

    def make_number(self) -> int:
        """A number that was not there before."""
        self.made += 1
        return self.made


def find_rewards(decisions: Sequence[FakeDecision]) -> list[float]:
    """The values that teach."""
    return [
        each.reward.value
        for each in decisions
        if each.reward is not None and each.reward.applied and not each.reward.revoked
    ]


def hash_body(body: Mapping[str, Any]) -> bytes:
    """What tells a repeated request from another."""
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).digest()


def draw_index(decision_id: str, count: int) -> int:
    """A uniform draw that hangs on the id alone, so that a repeated request is answered the same."""
    digest = hashlib.blake2b(decision_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def format_now() -> str:
    """The time, as answers have it."""
    return datetime.now(timezone.utc).isoformat()
