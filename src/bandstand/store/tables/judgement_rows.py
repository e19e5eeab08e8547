"""The rows that turns, verdicts and conclusions become, and the statements that write them."""

import json
from typing import Any, NamedTuple

from bandstand.store.ids import get_nonce
from bandstand.store.sqlite.statements import Row, build_insert, build_upsert, number_fields
from bandstand.store.tables.judgements import Cause, Conclusion, JudgedTurn, JudgementState, Settlement

_QUOTED_FIELDS = ("rationale", "raw")


class JudgementInsert(NamedTuple):
    """A row of ``judgements``; see ``judgements.sql`` for each column."""

    seq: int
    nonce: str
    uid: int
    policy: int
    decision_seq: int | None
    tip_id: str
    features: bytes | None
    taxonomy: str
    body_hash: bytes
    client: str
    ts: float
    state: JudgementState
    reason: str | None
    tries: int
    rounds: int
    verdict_seq: int | None
    reward_seq: int | None


class JudgementUpdate(NamedTuple):
    """What a conclusion changes of a row of ``judgements``."""

    seq: int
    state: JudgementState
    reason: str | None
    rounds: int
    verdict_seq: int | None
    reward_seq: int | None


class TurnInsert(NamedTuple):
    """A row of ``turns``."""

    judgement: int
    query_t: str
    answer_t: str
    query_t1: str
    about: str


class TotalInsert(NamedTuple):
    """A row of ``judgement_totals``, or what is added to it."""

    policy: int
    state: JudgementState
    reason: str
    count: int  # type: ignore[assignment]  # the column's name, which hides a method of tuples


class VerdictInsert(NamedTuple):
    """A row of ``verdicts``."""

    seq: int
    judgement: int
    uid: int
    client: str
    ts: float
    document: str
    quotes: str | None


class ConclusionInsert(NamedTuple):
    """A row of ``conclusions``."""

    seq: int
    judgement: int
    round: int
    uid: int
    cause: Cause
    client: str
    ts: float
    verdict_seq: int | None
    applied: str | None
    state: JudgementState
    reason: str | None
    reward_seq: int | None


class ReservationInsert(NamedTuple):
    """A row of ``judge_spending``."""

    seq: int
    day: int
    tokens: int
    usd: float
    settled: bool


INSERT_JUDGEMENT = build_insert("judgements", JudgementInsert)
INSERT_TURN = build_insert("turns", TurnInsert)
INSERT_VERDICT = build_insert("verdicts", VerdictInsert)
INSERT_CONCLUSION = build_insert("conclusions", ConclusionInsert)
INSERT_RESERVATION = build_insert("judge_spending", ReservationInsert)
UPSERT_TOTAL = build_upsert("judgement_totals", TotalInsert, key=3)
SETTLE_RESERVATION = number_fields(
    "UPDATE judge_spending SET tokens = :tokens, usd = :usd, settled = 1 WHERE seq = :seq", Settlement
)
UPDATE_JUDGEMENT = number_fields(
    """UPDATE judgements SET state = :state, reason = :reason, rounds = :rounds, verdict_seq = :verdict_seq,
    reward_seq = :reward_seq WHERE seq = :seq""",
    JudgementUpdate,
)
REQUEUE_JUDGEMENT = "UPDATE judgements SET state = 'waiting', reason = NULL, tries = 0 WHERE seq = ?1"
COUNT_ATTEMPT = "UPDATE judgements SET tries = tries + 1 WHERE seq = ?1"


def build_turn_rows(judgement: JudgedTurn, policy_id: int) -> list[tuple[str, Row]]:
    """The rows of a turn that is taken."""
    row = JudgementInsert(
        seq=judgement.seq,
        nonce=get_nonce(judgement.judgement_id),
        uid=judgement.uid,
        policy=policy_id,
        decision_seq=judgement.decision_seq,
        tip_id=judgement.tip_id,
        features=judgement.features,
        taxonomy=judgement.taxonomy,
        body_hash=judgement.body_hash,
        client=judgement.client,
        ts=judgement.ts,
        state=judgement.state,
        reason=judgement.reason,
        tries=judgement.tries,
        rounds=judgement.rounds,
        verdict_seq=judgement.verdict_seq,
        reward_seq=judgement.reward_seq,
    )
    rows: list[tuple[str, Row]] = [(INSERT_JUDGEMENT, row), (UPSERT_TOTAL, build_total_row(judgement, policy_id, 1))]
    if judgement.texts is not None:
        rows.append((INSERT_TURN, TurnInsert(judgement.seq, *judgement.texts)))
    return rows


def build_total_row(judgement: JudgedTurn, policy_id: int, delta: int) -> TotalInsert:
    """What a judgement adds to the totals where it stands."""
    return TotalInsert(policy_id, judgement.state, judgement.reason or "", delta)


def build_update_row(judgement: JudgedTurn) -> JudgementUpdate:
    """A judgement as it stands after a conclusion."""
    return JudgementUpdate(
        seq=judgement.seq,
        state=judgement.state,
        reason=judgement.reason,
        rounds=judgement.rounds,
        verdict_seq=judgement.verdict_seq,
        reward_seq=judgement.reward_seq,
    )


def build_verdict_row(seq: int, judgement: JudgedTurn, conclusion: Conclusion, ts: float) -> VerdictInsert:
    """A verdict as a row, what quotes the turn apart."""
    document = dict(conclusion.verdict or {})
    quotes = {name: document.pop(name) for name in _QUOTED_FIELDS if document.get(name)}
    return VerdictInsert(
        seq=seq,
        judgement=judgement.seq,
        uid=judgement.uid,
        client=conclusion.client,
        ts=ts,
        document=_to_compact_json(document),
        quotes=json.dumps(quotes, separators=(",", ":")) if quotes else None,
    )


def build_conclusion_row(seq: int, judgement: JudgedTurn, conclusion: Conclusion, ts: float) -> ConclusionInsert:
    """What was made of a verdict, as a row; ``judgement`` stands already as concluded."""
    return ConclusionInsert(
        seq=seq,
        judgement=judgement.seq,
        round=judgement.rounds,
        uid=judgement.uid,
        cause=conclusion.cause,
        client=conclusion.client,
        ts=ts,
        verdict_seq=judgement.verdict_seq,
        applied=None if conclusion.applied is None else _to_compact_json(conclusion.applied),
        state=judgement.state,
        reason=judgement.reason,
        reward_seq=judgement.reward_seq,
    )


def _to_compact_json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
