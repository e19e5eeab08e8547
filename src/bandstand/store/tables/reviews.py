"""Turns as people review them: with their words and the verdict that stands; and what people have said of them so far.

A page searches a bounded number of turns, whatever the ledger's size, and says where to continue.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bandstand.store.ids import format_id
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.judgements import TurnTexts

MAX_SEARCHED = 10_000
"""Turns that one page is looked for in."""

MAX_LABELLED = 10_000
"""People's newest verdicts that are compared with the judge's."""

ReviewState = Literal["open", "reviewed", "taught", "withheld", "unscored"]
"""``open``: no person has said anything of the turn yet."""

_CONDITIONS: Mapping[ReviewState, str] = {
    "open": "j.state <> 'waiting' AND v.document ->> 'tier' IS NOT 'person'",
    "reviewed": "v.document ->> 'tier' = 'person'",
    "taught": "j.state = 'taught'",
    "withheld": "j.state = 'withheld'",
    "unscored": "j.state = 'unscored'",
}
_JUDGES_VERDICT = """(SELECT w.document FROM verdicts AS w WHERE w.judgement = j.seq
    AND w.document ->> 'tier' IS NOT 'person' ORDER BY w.seq DESC LIMIT 1)"""
_SEARCHED = """SELECT seq FROM judgements WHERE seq < :before {of_user}
    AND EXISTS (SELECT 1 FROM users AS u WHERE u.uid = judgements.uid) ORDER BY seq DESC LIMIT :searched"""
_REVIEWS = """SELECT j.seq, j.nonce, u.user_id, j.tip_id, p.name, j.taxonomy, j.ts, j.state, j.reason,
        (SELECT r.value FROM rewards AS r WHERE r.seq = j.reward_seq), v.document, v.quotes, {judges},
        t.query_t, t.answer_t, t.query_t1, t.about
    FROM judgements AS j JOIN users AS u ON u.uid = j.uid JOIN policies AS p ON p.id = j.policy
    LEFT JOIN verdicts AS v ON v.seq = j.verdict_seq LEFT JOIN turns AS t ON t.judgement = j.seq
    WHERE j.seq IN ({searched}) AND {condition} ORDER BY j.seq DESC LIMIT :limit"""
_LAST_SEARCHED = "SELECT min(seq), count(*) FROM ({searched})"
_PEOPLE = """FROM conclusions AS c JOIN judgements AS j ON j.seq = c.judgement AND j.verdict_seq = c.verdict_seq
    JOIN verdicts AS v ON v.seq = c.verdict_seq"""
_PAIRS = f"""SELECT j.taxonomy, v.document ->> 'label', {_JUDGES_VERDICT} ->> 'label' {_PEOPLE}
    WHERE c.cause = 'override' ORDER BY c.seq DESC LIMIT ?"""
_LABELLED = f"""SELECT j.taxonomy, v.document ->> 'label', t.query_t, t.answer_t, t.query_t1, t.about {_PEOPLE}
    JOIN turns AS t ON t.judgement = j.seq WHERE c.cause = 'override' AND j.taxonomy = ? ORDER BY c.seq"""

_LABELLED_COUNTS = f"""SELECT j.taxonomy, count(*) {_PEOPLE}
    JOIN turns AS t ON t.judgement = j.seq WHERE c.cause = 'override' GROUP BY j.taxonomy"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFilter:
    """Which turns are looked for.

    Attributes:
        state: how they stand; None for all that are not waiting.
        label: of the verdict that stands; None for any.
        user_id: whose; None for everybody's.
        max_confidence: of the verdict that stands; None for any.
    """

    state: ReviewState | None = None
    label: str | None = None
    user_id: str | None = None
    max_confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedTurn:
    """A turn for review.

    Attributes:
        reward: what it gave; None for nothing.
        verdict: what stands, as its document says; None if it is unscored.
        rationale: of that; empty once its words are gone.
        judged_label: what the judge said, where a person's verdict stands now.
        texts: the words; None once they are past their days.
    """

    seq: int
    judgement_id: str
    user_id: str
    tip_id: str
    policy: str
    taxonomy: str
    ts: float
    state: str
    reason: str | None
    reward: float | None
    verdict: Mapping[str, Any] | None
    rationale: str
    judged_label: str | None
    texts: TurnTexts | None


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Turns, newest first, and the cursor of the next page: None if there is no further turn to look at."""

    turns: list[ReviewedTurn]
    next: int | None


class LabelPair(NamedTuple):
    """What a person said of a turn, and what the judge had said; None if that had no verdict."""

    taxonomy: str
    person: str
    judge: str | None


def list_reviews(connection: sqlite3.Connection, wanted: ReviewFilter, before: int | None, limit: int) -> ReviewPage:
    """Turns that fit, newest first, from the cursor ``before``, an event number."""
    searched = _SEARCHED.format(
        of_user="" if wanted.user_id is None else "AND uid = (SELECT uid FROM users WHERE user_id = :user_id)"
    )
    conditions = ["j.state <> 'waiting'" if wanted.state is None else _CONDITIONS[wanted.state]]
    if wanted.label is not None:
        conditions.append("v.document ->> 'label' = :label")
    if wanted.max_confidence is not None:
        conditions.append("v.document ->> 'confidence' <= :max_confidence")
    values = {
        "before": LAST_SEQ if before is None else before,
        "user_id": wanted.user_id,
        "label": wanted.label,
        "max_confidence": wanted.max_confidence,
        "searched": MAX_SEARCHED,
        "limit": limit + 1,
    }
    query = _REVIEWS.format(judges=_JUDGES_VERDICT, searched=searched, condition=" AND ".join(conditions))
    found = [to_reviewed_turn(row) for row in connection.execute(query, values)]
    if len(found) > limit:
        return ReviewPage(found[:limit], found[limit - 1].seq)
    last, count = connection.execute(_LAST_SEARCHED.format(searched=searched), values).fetchone()
    return ReviewPage(found, last if count == MAX_SEARCHED else None)


def load_label_pairs(connection: sqlite3.Connection) -> list[LabelPair]:
    """People's newest verdicts that stand, each beside what the judge had said of the turn."""
    return [LabelPair(*row) for row in connection.execute(_PAIRS, (MAX_LABELLED,))]


def iter_labelled_turns(connection: sqlite3.Connection, taxonomy: str) -> Iterator[dict[str, str]]:
    """Turns that a person has labelled and whose words are there, oldest first, as ``bandstand judge`` reads them."""
    for name, label, query_t, answer_t, query_t1, about in connection.execute(_LABELLED, (taxonomy,)):
        turn = {"query_t": query_t, "answer_t": answer_t, "query_t1": query_t1, "label": label, "taxonomy": name}
        yield turn | {"about": about} if about else turn


def count_labelled_turns(connection: sqlite3.Connection) -> dict[str, int]:
    """How many turns :func:`iter_labelled_turns` gives of each taxonomy that has any."""
    return dict(connection.execute(_LABELLED_COUNTS))


def to_reviewed_turn(row: Iterable[Any]) -> ReviewedTurn:
    """A turn for review from its row: as ``list_reviews`` selects it, from the number to the three texts."""
    (seq, nonce, user_id, tip_id, policy, taxonomy, ts, state, reason, reward, document, quotes, judged, *texts) = row
    verdict = None if document is None else json.loads(document)
    by_person = verdict is not None and verdict.get("tier") == "person"
    return ReviewedTurn(
        seq=seq,
        judgement_id=format_id(seq, nonce),
        user_id=user_id,
        tip_id=tip_id,
        policy=policy,
        taxonomy=taxonomy,
        ts=ts,
        state=state,
        reason=reason,
        reward=reward if state == "taught" else None,
        verdict=verdict,
        rationale="" if quotes is None else json.loads(quotes).get("rationale", ""),
        judged_label=json.loads(judged).get("label") if by_person and judged is not None else None,
        texts=None if texts[0] is None else (texts[0], texts[1], texts[2], texts[3]),
    )
