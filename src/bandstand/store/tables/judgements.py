"""Judgements: turns that wait for their verdicts, and what is made of those.

The store knows no judge: verdicts and what was applied are JSON documents to it.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bandstand.errors import BandstandError
from bandstand.store.records import PolicyRef, Reward
from bandstand.store.tables.revocations import RevocableReward

JudgementState = Literal["waiting", "taught", "withheld", "unscored"]
Cause = Literal["judge", "override", "reapply"]
TurnTexts = tuple[str, str, str, str]
"""query_t, answer_t, query_t1 and about, as they may be judged."""


class UnknownJudgementError(BandstandError):
    """No such judgement."""

    code = "unknown-judgement"


class JudgementExpiredError(BandstandError):
    """What the judgement taught can no longer be separated from the rest, or its turn's words are gone."""

    code = "judgement-expired"


class RewardPendingError(BandstandError):
    """The decision is held by a turn that is still being judged, or a judgement by its judge."""

    code = "reward-pending"


@dataclass(slots=True, eq=False)
class JudgedTurn:
    """A turn taken as a reward, and how it stands.

    Attributes:
        decision_seq: the decision it rewards; ``None`` in the legacy form.
        decision_id: its id; ``None`` also where retention has taken the decision.
        features: the legacy form's raw context and features.
        taxonomy: whose labels it is judged by.
        body_hash: a hash of the request, by which a retry is told from a contradiction.
        texts: the turn; ``None`` if it was not requested, or is past its days.
        tries: how often it was handed to a judge.
        rounds: how often it was concluded.
        verdict_seq: the verdict that stands.
        reward_seq: the newest reward that it gave, if it gave one.
    """

    judgement_id: str
    seq: int
    user_id: str
    policy: PolicyRef
    tip_id: str
    taxonomy: str
    body_hash: bytes
    client: str
    ts: float
    decision_seq: int | None = None
    decision_id: str | None = None
    features: bytes | None = None
    texts: TurnTexts | None = None
    idempotency: tuple[str, str] | None = None
    uid: int = 0
    state: JudgementState = "waiting"
    reason: str | None = None
    tries: int = 0
    rounds: int = 0
    verdict_seq: int | None = None
    reward_seq: int | None = None


class AcceptedTurn(NamedTuple):
    """The judgement that stands for a request; ``match`` as in :class:`bandstand.store.records.AcceptedReward`."""

    judgement: JudgedTurn
    match: Literal["new", "decision", "key"]


class Settlement(NamedTuple):
    """What a reservation turned out to have cost."""

    seq: int
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What is made of a verdict.

    Attributes:
        cause: the judge's own verdict, a person's, or another look at the one that stands.
        client: name of the API key.
        verdict: as given; ``None`` leaves the one that stands.
        applied: the rewards, threshold and calibration that were applied; ``None`` without a verdict.
        teach: the reward; ``None`` teaches nothing.
        state: how the judgement stands then, if ``teach`` is ``None``.
        reason: why it teaches nothing.
        settlement: of what was reserved for it.
    """

    cause: Cause
    client: str
    verdict: dict[str, Any] | None = None
    applied: dict[str, Any] | None = None
    teach: float | None = None
    state: JudgementState = "withheld"
    reason: str | None = None
    settlement: Settlement | None = None


class TurnOutcome(NamedTuple):
    """What became of a judgement.

    Attributes:
        judgement: as it stands now.
        reward: what it gave, if it gave anything.
        revoked: what it had taught before.
    """

    judgement: JudgedTurn
    reward: Reward | None
    revoked: list[RevocableReward]


class TurnPage(NamedTuple):
    """Judgements, newest first, and the cursor of the next page (``None`` on the last)."""

    judgements: list[JudgedTurn]
    next: int | None


class TurnTotals(NamedTuple):
    """How many judgements of a policy stand in one way."""

    policy: str
    state: JudgementState
    reason: str
    turns: int
