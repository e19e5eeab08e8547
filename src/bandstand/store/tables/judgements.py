"""Judgements: turns that wait for their verdicts, verdicts as given, what was made of them, and the rows of all that.

The store knows no judge: verdicts and what was applied are JSON documents to it. How they are read back is in
:mod:`bandstand.store.tables.judgement_queries`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bandstand.errors import BandstandError
from bandstand.store.records import PolicyRef, Reward
from bandstand.store.sqlite.schema import Row
from bandstand.store.tables.revocations import RevocableReward

JudgementState = Literal["waiting", "taught", "withheld", "unscored"]
Cause = Literal["judge", "override", "reapply"]
TurnTexts = tuple[str, str, str]
"""query_t, answer_t and query_t1, as they may be judged."""

INSERT_JUDGEMENT = "INSERT INTO judgements VALUES "
INSERT_TURN = "INSERT INTO turns VALUES "
INSERT_VERDICT = "INSERT INTO verdicts VALUES "
INSERT_CONCLUSION = "INSERT INTO conclusions VALUES "
INSERT_REPLACEMENT_REWARD = """INSERT INTO rewards VALUES (?1, ?2, ?3, NULL,
    (SELECT coalesce(decision_seq, linked_seq) FROM rewards WHERE seq = ?14),
    ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"""
"""A reward in the place of another, which named its decision or was linked to one: that it is linked to."""
UPDATE_JUDGEMENT = """UPDATE judgements SET state = ?2, reason = ?3, rounds = ?4, verdict_seq = ?5, reward_seq = ?6
    WHERE seq = ?1"""
REQUEUE_JUDGEMENT = "UPDATE judgements SET state = 'waiting', reason = NULL, tries = 0 WHERE seq = ?1"
COUNT_ATTEMPT = "UPDATE judgements SET tries = tries + 1 WHERE seq = ?1"
UPSERT_TOTAL = """INSERT INTO judgement_totals VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (policy, state, reason) DO UPDATE SET count = count + excluded.count"""
INSERT_RESERVATION = "INSERT INTO judge_spending VALUES "
SETTLE_RESERVATION = "UPDATE judge_spending SET tokens = ?2, usd = ?3, settled = 1 WHERE seq = ?1"

_QUOTED_FIELDS = ("rationale", "raw")


class UnknownJudgementError(BandstandError):
    """No such judgement."""

    code = "unknown-judgement"


class JudgementExpiredError(BandstandError):
    """What the judgement taught cannot be told from the rest any more, or its turn's words are gone."""

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
        body_hash: of the request, to tell a retry from a contradiction.
        texts: the turn; ``None`` where it was not asked for, or is past its days.
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

    def build_rows(self, policy_id: int) -> list[tuple[str, Row]]:
        """What the ledger is told when the turn is taken."""
        row = (
            self.seq,
            self.judgement_id[16:],
            self.uid,
            policy_id,
            self.decision_seq,
            self.tip_id,
            self.features,
            self.taxonomy,
            self.body_hash,
            self.client,
            self.ts,
            self.state,
            self.reason,
            self.tries,
            self.rounds,
            self.verdict_seq,
            self.reward_seq,
        )
        rows: list[tuple[str, Row]] = [(INSERT_JUDGEMENT, row), (UPSERT_TOTAL, self.build_total_row(policy_id, 1))]
        if self.texts is not None:
            rows.append((INSERT_TURN, (self.seq, *self.texts)))
        return rows

    def build_total_row(self, policy_id: int, delta: int) -> Row:
        """What its state adds to the totals."""
        return (policy_id, self.state, self.reason or "", delta)


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
        applied: the map, threshold and calibration it was held to; ``None`` without a verdict.
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


def build_verdict_row(seq: int, judgement: JudgedTurn, conclusion: Conclusion, ts: float) -> Row:
    """A verdict as a row, what quotes the turn apart."""
    document = dict(conclusion.verdict or {})
    quotes = {name: document.pop(name) for name in _QUOTED_FIELDS if document.get(name)}
    text = json.dumps(quotes, separators=(",", ":")) if quotes else None
    return seq, judgement.seq, judgement.uid, conclusion.client, ts, _to_compact_json(document), text


def build_conclusion_row(seq: int, judgement: JudgedTurn, conclusion: Conclusion, ts: float) -> Row:
    """What was made of a verdict, as a row; ``judgement`` stands already as concluded."""
    return (
        seq,
        judgement.seq,
        judgement.rounds,
        judgement.uid,
        conclusion.cause,
        conclusion.client,
        ts,
        judgement.verdict_seq,
        None if conclusion.applied is None else _to_compact_json(conclusion.applied),
        judgement.state,
        judgement.reason,
        judgement.reward_seq,
    )


def _to_compact_json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
