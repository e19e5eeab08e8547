"""The nouns of the ledger: what was decided, what was rewarded, and the names they go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bandstand.bandit.aggregation import NO_PARTS, PartSums
from bandstand.bandit.profile import StateKey
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import RewardSettings

Array = NDArray[np.float64]

_SEQ_SHIFT = 20  # a million events a millisecond before sequence numbers run ahead of the clock
_LAST_MILLISECOND = 2**43 - 1  # an event number is a 63-bit integer
LAST_SEQ = (1 << 63) - 1
"""No event has a higher number."""


class Sequence:
    """Hands out event numbers: always growing, and derived from the clock, so that a number contains its time.

    ``seq = milliseconds · 2²⁰ + counter``. Time-ordered row ids keep inserts at the end of the B-tree (measured 2 µs a
    row against 15 µs and growing for random keys). A clock that steps back is outwaited by counting on from the last.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def next(self, ts: float) -> int:
        """The number of an event that happens at ``ts`` (seconds since the epoch)."""
        seq, follows = int(ts * 1000) << _SEQ_SHIFT, self.last + 1
        self.last = seq if seq > follows else follows  # noqa: FURB136 (a call of max() takes as long as all the rest)
        return self.last

    def take(self, ts: float, count: int) -> range:
        """The numbers of ``count`` events, at least one, that happen at ``ts``: what as many calls of ``next`` give."""
        first = self.next(ts)
        self.last = first + count - 1
        return range(first, first + count)


def first_seq_at(ts: float) -> int:
    """The lowest event number that the clock could have given at ``ts``, or the nearest there is to it."""
    return min(max(int(ts * 1000), 0), _LAST_MILLISECOND) << _SEQ_SHIFT


def to_time(seq: int) -> float:
    """The time in an event number: seconds since the epoch, to the millisecond."""
    return (seq >> _SEQ_SHIFT) / 1000


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """Which policy, in which definition, over which encoding; ``key`` is where a profile keeps its learning."""

    name: str
    hash: str
    schema: str
    schema_hash: str
    key: StateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.name, self.schema))


Updates = tuple[tuple[PolicyRef, Array], ...]
"""Who learns, and from which features x of shape (d,)."""


@dataclass(frozen=True, slots=True)
class RewardWindow:
    """Until when rewards of a decision count.

    Attributes:
        held: nothing is taught before the decision is activated.
        due: when it ends, seconds since the epoch; ``None`` for never.
        fallback: what silence teaches then; ``None`` for nothing.
    """

    held: bool = False
    due: float | None = None
    fallback: float | None = None

    def has_ended(self, ts: float) -> bool:
        """Whether it is over at a time."""
        return self.due is not None and ts >= self.due


@dataclass(frozen=True, slots=True)
class RewardPart:
    """What was given for a decision whose reward is settled over time.

    Attributes:
        value: the reward of this part.
        reason: why it does not count; ``None`` if it does.
        taught: what the decision had taught after it; ``None`` for nothing.
        metrics: JSON, as sent.
        formula: hash of the formula that made the value of the metrics.
    """

    value: float
    reason: str | None = None
    taught: float | None = None
    metrics: str | None = None
    formula: str | None = None


class Reward(Struct, eq=False, gc=False):
    """A reward as the ledger keeps it; the cycle collector passes over it, so nothing in it may lead back to it.

    Attributes:
        value: what was given, in [-1, 1]; ``applied`` says whether it taught, ``reason`` why not.
        decision_seq: the decision it names; ``None`` in the legacy form, which only *links* to one.
        features: the legacy form's raw context and features; ``None`` if the decision holds them.
        body_hash: a hash of the request, by which a retry is told from a contradiction.
        shadow_updates: policies in the shadow, which learn from it too, each from its own features of the candidate.
        settings: how it joins other rewards of its decision; ``None`` if a decision is rewarded once.
        reaction: what was sent, where that was no number.
        part: what was given, if that is not all that its decision is taught.
    """

    user_id: str
    policy: PolicyRef
    tip_id: str
    value: float
    client: str
    ts: float
    body_hash: bytes
    x: Array | None
    decision_seq: int | None = None
    decision_id: str | None = None
    features: bytes | None = None
    idempotency: tuple[str, str] | None = None
    source: str = "client"
    weight: float = 1.0
    applied: bool = True
    reason: str | None = None
    seq: int = 0
    shadow_updates: Updates = ()
    settings: RewardSettings | None = None
    part: RewardPart | None = None
    reaction: SentReaction | None = None


class UnreadReward(Struct, eq=False, gc=False):
    """A reward of a decision that this process has not read: the ledger says whose it is, and by which policy.

    Attributes:
        user_id: whose the request says that it is; ``None`` if it says nothing.
        tip_id: the same of what was picked.
    """

    decision_id: str
    value: float
    client: str
    ts: float
    body_hash: bytes
    user_id: str | None = None
    tip_id: str | None = None
    idempotency: tuple[str, str] | None = None
    reaction: SentReaction | None = None
    seq: int = 0


class Decision(Struct, eq=False, gc=False):
    """One pick as the ledger keeps it, and what a reward needs of it while it is in memory.

    As with a :class:`Reward`, nothing in it may lead back to it.

    Attributes:
        own_id: the caller chose ``decision_id``.
        pick: index of the picked candidate.
        seed: the uniform draw in [0, 1) that picked it; below ``floor`` it explored.
        body: the request as it came (raw context and candidates).
        request: the same as it was read, as long as it is not logged; ``None`` if nobody holds it.
        numbers: mean, width, score and probability of every candidate: shape (4, K).
        x: features of the picked candidate, shape (d,).
        subject: whom it was made for, where all users of a loop have one model, which is ``user_id``'s.
        excluded: how many of its candidates could not be picked; known only when it is made.
        likeliest: index of the candidate with the highest probability, the first of equals; known only when it is made.
        window: until when its rewards count; ``None`` for ever, or for the first of them.
        tries: how often it was made before from a state that had moved meanwhile.
        known: number of its user's newest event at some moment after it was asked for; ``None`` if nobody looked. Made
            from a state that holds that event, it counts all that it has to.
        shadow_updates: policies in the shadow, and their features of it; ``None`` until a reward asks.
        experiment: event number of the beginning of the experiment that chose the policy; 0 for none.
        reward: the one that stands, pending or committed; where only parts were kept and nothing was taught, the first.
        uid: the store's key of the user.
        pending_turn_seq: event number of the turn that waits to reward it, 0 for none.
        parts: sums over the parts that count, or will once it is activated.
        part_seq: event number of the newest change of its parts or its window that was submitted; 0 for none.
    """

    decision_id: str
    own_id: bool
    seq: int
    user_id: str
    policy: PolicyRef
    client: str
    ts: float
    tip_id: str
    pick: int
    exploring: bool
    seed: float
    score: float
    propensity: float
    floor: float
    body: bytes
    numbers: Array | None
    x: Array | None
    request: Mapping[str, Any] | None = None
    subject: str | None = None
    excluded: int = 0
    likeliest: int = 0
    window: RewardWindow | None = None
    tries: int = 0
    known: int | None = None
    shadow_updates: Updates | None = None
    experiment: int = 0
    reward: Reward | None = None
    uid: int = 0
    pending_turn_seq: int = 0
    parts: PartSums = NO_PARTS
    part_seq: int = 0

    @property
    def person(self) -> str:
        """Whom it was made for."""
        return self.user_id if self.subject is None else self.subject


class AcceptedReward(Struct, gc=False):
    """The reward that stands for a request, and how it was found.

    ``match`` is ``new`` (this request's own), ``decision`` (the decision had one) or ``key`` (its Idempotency-Key had).
    """

    reward: Reward
    match: Literal["new", "decision", "key"]


@dataclass(frozen=True, slots=True)
class Erasure:
    """The receipt of an erasure: how much of each kind went, and whether the write-ahead log has forgotten it too."""

    decisions: int = 0
    rewards: int = 0
    marks: int = 0
    documents: int = 0
    generations: int = 0
    revocations: int = 0
    enrolments: int = 0
    shadows: int = 0
    turns: int = 0
    verdicts: int = 0
    parts: int = 0
    log_emptied: bool = True


@dataclass(frozen=True, slots=True)
class UserPage:
    """A page of known users, and the cursor of the next page (``None`` on the last)."""

    users: list[str]
    next: int | None


@dataclass(frozen=True, slots=True)
class PolicyTotals:
    """What one policy has done since the ledger began."""

    decisions: int = 0
    explores: int = 0
    rewards: int = 0
    reward_sum: float = 0.0


@dataclass(slots=True)
class StoreStatus:
    """How the store is doing, for health, readiness and metrics."""

    state: Literal["ready", "draining", "failed"] = "ready"
    durability: str = "full"
    warm_users: int = 0
    pending: int = 0
    quarantined: int = 0
    last_error: str | None = None
    disk_is_full: bool = False
    disk_free: int | None = None  # bytes; None if the ledger is on no disk of ours
    details: dict[str, Any] = field(default_factory=dict)
