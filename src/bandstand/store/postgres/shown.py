"""What was shown, in a shared ledger: decisions found by the words, the candidate or the user, newest first."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bandstand.store.ids import format_id
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import require_ledger
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.reward_statements import NEWEST_REWARD
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.shown import DecisionMatcher, DecisionPage, DecisionSearch, FoundDecision, MatchedCandidates

_AT_ONCE: Final = 200
"""Requests that are read by one statement: some hundred kilobytes."""
_FIND_UID = "SELECT uid, EXISTS (SELECT 1 FROM subjects AS s WHERE s.uid = u.uid) FROM users AS u WHERE user_id = $1"
_SCAN = """SELECT seq, tip_id, pick, body FROM decisions
    WHERE seq < $1 AND seq >= $2 {of_user} ORDER BY seq DESC LIMIT $3"""
_SCANS = {
    "all": _SCAN.format(of_user=""),
    "owner": _SCAN.format(of_user="AND uid = $4"),
    "subject": """SELECT d.seq, d.tip_id, d.pick, d.body FROM subjects AS s JOIN decisions AS d ON d.seq = s.seq
        WHERE s.seq < $1 AND s.seq >= $2 AND s.uid = $4 ORDER BY s.seq DESC LIMIT $3""",
}
_DETAIL = f"""SELECT d.seq, d.nonce, i.decision_id, coalesce(whom.user_id, u.user_id) AS user_id, p.name AS policy,
        d.propensity, d.exploring, d.ts,
        coalesce(w.held, false) AS held, r.value AS reward, r.applied AND v.seq IS NULL AS applied,
        coalesce(v.cause, r.reason) AS reason
    FROM decisions AS d JOIN users AS u ON u.uid = d.uid JOIN policies AS p ON p.id = d.policy
    LEFT JOIN subjects AS s ON s.seq = d.seq LEFT JOIN users AS whom ON whom.uid = s.uid
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN windows AS w ON w.decision = d.seq
    LEFT JOIN LATERAL ({NEWEST_REWARD}) AS r ON true
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq
    WHERE d.seq = ANY ($1::bigint[])"""  # noqa: S608 (constants)


async def search_ledger(address: LedgerAddress, wanted: DecisionSearch, before: int, limit: int) -> DecisionPage:
    """Search a whole ledger, beside running services; as :func:`search_shared_decisions`.

    Raises:
        ConfigurationError: the schema holds no ledger that this version reads.
        StorageUnavailableError: the database cannot be read.
    """
    pool = ConnectionPool(address, 1, durable=False, reads_only=True)
    try:
        await require_ledger(pool, address)
        return await search_shared_decisions(pool, wanted, before, limit, LAST_SEQ)
    finally:
        await pool.close()


async def search_shared_decisions(
    readers: ConnectionPool, wanted: DecisionSearch, before: int, limit: int, scanned: int
) -> DecisionPage:
    """Decisions that fit, newest first; see :func:`bandstand.store.tables.shown.search_decisions`.

    Args:
        readers: connections to the ledger.
        wanted: which.
        before: number of the event before which to search.
        limit: how many.
        scanned: how many decisions are looked at.
    """
    scan, of_user = "all", tuple[int, ...]()
    if wanted.user_id is not None:
        whose = await readers.fetch_one(_FIND_UID, wanted.user_id)
        if whose is None:
            return DecisionPage([], None, 0, None)
        scan, of_user = "subject" if whose["exists"] else "owner", (whose["uid"],)
    query, matcher = _SCANS[scan], DecisionMatcher(wanted)
    found: list[tuple[int, MatchedCandidates]] = []
    searched, reached, start = 0, None, min(before, wanted.until)
    while searched < scanned:
        size = min(_AT_ONCE, scanned - searched)
        rows = await readers.fetch(query, start, wanted.since, size, *of_user)
        matches = await asyncio.to_thread(_match, matcher, rows, limit - len(found))
        found += matches
        if len(found) == limit:
            last = found[-1][0]
            searched += 1 + next(place for place, row in enumerate(rows) if row["seq"] == last)
            return DecisionPage(await _load_details(readers, found), last, searched, last)
        searched += len(rows)
        if rows:
            start = reached = rows[-1]["seq"]
        if len(rows) < size:
            return DecisionPage(await _load_details(readers, found), None, searched, reached)
    return DecisionPage(await _load_details(readers, found), reached, searched, reached)


def _match(matcher: DecisionMatcher, rows: Sequence[Any], limit: int) -> list[tuple[int, MatchedCandidates]]:
    def iter_matches() -> Iterator[tuple[int, MatchedCandidates]]:
        for row in rows:
            candidates = matcher.find(row["tip_id"], row["pick"], row["body"])
            if candidates is not None:
                yield row["seq"], candidates

    return [match for _, match in zip(range(limit), iter_matches(), strict=False)]


async def _load_details(readers: ConnectionPool, found: Sequence[tuple[int, MatchedCandidates]]) -> list[FoundDecision]:
    """The details of each; users erased since are left out."""
    if not found:
        return []
    rows = {row["seq"]: row for row in await readers.fetch(_DETAIL, [seq for seq, _ in found])}
    return [_to_found(rows[seq], candidates) for seq, candidates in found if seq in rows]


def _to_found(row: Any, candidates: MatchedCandidates) -> FoundDecision:
    shown, matches = candidates
    return FoundDecision(
        seq=row["seq"],
        decision_id=row["decision_id"] if row["nonce"] is None else format_id(row["seq"], row["nonce"]),
        user_id=row["user_id"],
        policy=row["policy"],
        ts=row["ts"],
        propensity=row["propensity"],
        exploring=row["exploring"],
        held=row["held"],
        shown=shown,
        matches=matches,
        reward=row["reward"],
        applied=row["applied"],
        reason=row["reason"],
    )
