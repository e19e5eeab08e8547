"""What was shown: decisions found by the words, the candidate or the user, newest first.

A page searches a bounded number of decisions, whatever the ledger's size, and says where to continue. Nothing is
indexed: erased users, and what retention deleted, are not found because they are not there.
"""

import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import from_json

from bandstand.store.ids import format_id
from bandstand.store.records import LAST_SEQ
from bandstand.store.sqlite.packing import unpack_body

MAX_SEARCHED = 10_000
"""Decisions that one page is looked for in."""

MAX_MATCHES = 10
"""Candidates of a decision that are named as those which fit."""

Among = Literal["picked", "offered"]
"""``picked``: what was shown first; ``offered``: any candidate of the request."""

_COLUMNS = "d.seq, coalesce(whom.user_id, u.user_id), s.uid IS NOT NULL AND whom.uid IS NULL, d.tip_id, d.pick, d.body"
_SCAN = f"""SELECT {_COLUMNS} FROM decisions AS d LEFT JOIN users AS u ON u.uid = d.uid
    LEFT JOIN subjects AS s ON s.seq = d.seq LEFT JOIN users AS whom ON whom.uid = s.uid
    WHERE d.seq < ?1 AND d.seq >= ?2 {{of_user}} ORDER BY d.seq DESC LIMIT ?3"""  # noqa: S608 (constants)
_SCANS = {
    "all": _SCAN.format(of_user=""),
    "owner": _SCAN.format(
        of_user="""AND d.seq IN (SELECT seq FROM user_decisions
            WHERE uid = ?4 AND seq < ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3)"""
    ),
    "subject": f"""SELECT {_COLUMNS} FROM subjects AS s JOIN decisions AS d ON d.seq = s.seq
        LEFT JOIN users AS u ON u.uid = d.uid LEFT JOIN users AS whom ON whom.uid = s.uid
        WHERE s.seq < ?1 AND s.seq >= ?2 AND s.uid = ?4 ORDER BY s.seq DESC LIMIT ?3""",  # noqa: S608 (constants)
}
_UID = "SELECT uid, EXISTS (SELECT 1 FROM subjects AS s WHERE s.uid = users.uid) FROM users WHERE user_id = ?"
_DETAIL = """SELECT d.nonce, i.decision_id, p.name, d.propensity, d.exploring, d.ts, coalesce(w.held, 0),
        r.value, r.applied AND v.seq IS NULL, coalesce(v.cause, r.reason)
    FROM decisions AS d JOIN policies AS p ON p.id = d.policy
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN windows AS w ON w.decision = d.seq
    LEFT JOIN rewards AS r ON r.seq = max(
        coalesce((SELECT max(seq) FROM rewards WHERE decision_seq = d.seq), 0),
        coalesce((SELECT max(seq) FROM rewards WHERE linked_seq = d.seq), 0))
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq
    WHERE d.seq = ?"""
_ESCAPED = frozenset('"\\/')


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSearch:
    """Which decisions are looked for; what is left out does not narrow it.

    Attributes:
        words: all of them stand in one candidate's content, in any order and case, as whole words or parts of them.
        candidate_id: the candidate's id.
        among: the candidates to which these conditions apply.
        user_id: whom it was for.
        since: number of the first event that counts.
        until: number of the first that does not.
    """

    words: Sequence[str] = ()
    candidate_id: str | None = None
    among: Among = "picked"
    user_id: str | None = None
    since: int = 0
    until: int = LAST_SEQ


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCandidate:
    """A candidate as the request brought it; ``None`` for what it left out."""

    tip_id: str
    content: str | None
    source: str | None


MatchedCandidates = tuple[FoundCandidate, Sequence[FoundCandidate]]
"""The picked candidate, and those that fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDecision:
    """A decision that fits.

    Attributes:
        shown: the picked candidate.
        matches: the candidates that fit, the first ten of them.
        held: it was held back and never shown.
        reward: the value of the newest reward; ``None`` if none came.
        applied: whether it taught, and was not taken back since; ``None`` if none came.
        reason: why not.
    """

    seq: int
    decision_id: str
    user_id: str
    policy: str
    ts: float
    propensity: float
    exploring: bool
    held: bool
    shown: FoundCandidate
    matches: Sequence[FoundCandidate]
    reward: float | None
    applied: bool | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Decisions that fit, newest first.

    Attributes:
        next: where to continue; ``None`` if there is no further decision to look at.
        searched: how many were looked at.
        reached: number of the oldest of them; ``None`` for none.
    """

    decisions: Sequence[FoundDecision]
    next: int | None
    searched: int
    reached: int | None


def split_words(text: str) -> list[str]:
    """Split a text into words, in the form that is compared: one form of each character, and without case."""
    return _fold(text).split()


def search_decisions(
    connection: sqlite3.Connection,
    wanted: DecisionSearch,
    before: int = LAST_SEQ,
    limit: int = 50,
    scanned: int = MAX_SEARCHED,
) -> DecisionPage:
    """Decisions that fit, newest first.

    Args:
        connection: to the ledger.
        wanted: which.
        before: number of the event before which to search.
        limit: how many.
        scanned: how many decisions are looked at.
    """
    matcher = DecisionMatcher(wanted)
    found: list[FoundDecision] = []
    searched, reached = 0, None
    for seq, user_id, is_gone, tip_id, pick, body in _scan(connection, wanted, min(before, wanted.until), scanned):
        searched, reached = searched + 1, seq
        if user_id is None or is_gone:  # erased, and on the way out
            continue
        candidates = matcher.find(tip_id, pick, body)
        if candidates is None:
            continue
        found.append(_load_detail(connection, seq, user_id, *candidates))
        if len(found) == limit:
            return DecisionPage(found, seq, searched, reached)
    return DecisionPage(found, reached if searched == scanned else None, searched, reached)


def _scan(connection: sqlite3.Connection, wanted: DecisionSearch, before: int, limit: int) -> Iterator[tuple[Any, ...]]:
    values = [before, wanted.since, limit]
    if wanted.user_id is None:
        return connection.execute(_SCANS["all"], values)
    whose = connection.execute(_UID, (wanted.user_id,)).fetchone()
    if whose is None:
        return iter(())
    uid, is_subject = whose
    return connection.execute(_SCANS["subject" if is_subject else "owner"], [*values, uid])


def _load_detail(
    connection: sqlite3.Connection, seq: int, user_id: str, shown: FoundCandidate, matches: Sequence[FoundCandidate]
) -> FoundDecision:
    nonce, own_id, policy, propensity, exploring, ts, held, value, applied, reason = connection.execute(
        _DETAIL, (seq,)
    ).fetchone()
    return FoundDecision(
        seq=seq,
        decision_id=own_id if nonce is None else format_id(seq, nonce),
        user_id=user_id,
        policy=policy,
        ts=ts,
        propensity=propensity,
        exploring=bool(exploring),
        held=bool(held),
        shown=shown,
        matches=matches,
        reward=value,
        applied=None if applied is None else bool(applied),
        reason=reason,
    )


class DecisionMatcher:
    """Says which candidates of a request fit, whichever engine it comes from."""

    def __init__(self, wanted: DecisionSearch) -> None:
        self._words = [folded for word in wanted.words for folded in split_words(word)]
        self._candidate_id = wanted.candidate_id
        self._only_picked = wanted.among == "picked"
        # What JSON may write in several ways is looked for in the parsed text alone.
        plain = (word for word in self._words if not _ESCAPED & set(word))
        self._plain = [word.encode() for word in sorted(plain, key=len, reverse=True)]  # the rarest rules out first
        needed = wanted.candidate_id
        self._plain_id = b"" if needed is None or _ESCAPED & set(needed) else needed.encode()

    def find(self, tip_id: str, pick: int, stored: bytes) -> MatchedCandidates | None:
        """The matching candidates of a decision's stored request; ``None`` if there are none."""
        if self._candidate_id is not None and self._only_picked and tip_id != self._candidate_id:
            return None
        body = unpack_body(stored)
        if not self._may_match(body):
            return None
        candidates = from_json(body).get("candidates", ())
        if not candidates:
            return None
        asked = (candidates[pick],) if self._only_picked else candidates
        matches = [_to_candidate(each) for each in asked if self._matches(each)][:MAX_MATCHES]
        return (_to_candidate(candidates[pick]), matches) if matches else None

    def _may_match(self, body: bytes) -> bool:
        """Rule out, without parsing, most of what does not fit: 4 µs instead of 10."""
        if b"\\u" in body:
            return True
        if self._plain_id not in body:
            return False
        if not self._plain or not body.isascii():
            return True
        lowered = body.lower()
        return all(word in lowered for word in self._plain)

    def _matches(self, candidate: Mapping[str, Any]) -> bool:
        if self._candidate_id is not None and candidate["id"] != self._candidate_id:
            return False
        content = _fold(candidate.get("content") or "") if self._words else ""
        return all(word in content for word in self._words)


def _to_candidate(candidate: Mapping[str, Any]) -> FoundCandidate:
    return FoundCandidate(tip_id=candidate["id"], content=candidate.get("content"), source=candidate.get("source"))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
