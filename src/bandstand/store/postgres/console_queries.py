"""Queries of the console over a shared ledger: pages of it, each found with bounded work."""

from collections.abc import Sequence
from typing import Any

from bandstand.store.ids import format_id, parse_event_id
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.picks import SharedPickReader
from bandstand.store.postgres.reward_statements import NEWEST_REWARD
from bandstand.store.postgres.shown import search_shared_decisions
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.console_queries import (
    MAX_COUNTED,
    ConsoleSource,
    DecisionRow,
    DefinitionRow,
    PolicyActivity,
    UserRow,
    VerdictRow,
)
from bandstand.store.tables.judgements import TurnTexts
from bandstand.store.tables.picks import LoggedPick
from bandstand.store.tables.reviews import (
    MAX_LABELLED,
    MAX_SEARCHED,
    LabelPair,
    ReviewFilter,
    ReviewPage,
    to_reviewed_turn,
)
from bandstand.store.tables.shown import MAX_SEARCHED as MAX_DECISIONS_SEARCHED
from bandstand.store.tables.shown import DecisionPage, DecisionSearch

_ACTIVITY = """SELECT (r.hour / $1) * $1 AS since, p.name, sum(r.decisions)::bigint, sum(r.explores)::bigint,
        sum(r.rewards)::bigint, sum(r.reward_sum)
    FROM rollups_s AS r JOIN policies AS p ON p.id = r.policy WHERE r.hour >= $2 AND r.hour < $3
    GROUP BY 1, 2 ORDER BY 1, 2"""
_USER_COLUMNS = f"""u.uid, u.user_id, greatest(
        (SELECT ts FROM decisions WHERE uid = u.uid ORDER BY seq DESC LIMIT 1),
        (SELECT ts FROM rewards WHERE uid = u.uid ORDER BY n DESC LIMIT 1)) AS last_seen,
    (SELECT count(*) FROM (SELECT 1 FROM decisions WHERE uid = u.uid LIMIT {MAX_COUNTED}) AS d) AS decisions,
    (SELECT count(*) FROM (SELECT 1 FROM rewards WHERE uid = u.uid LIMIT {MAX_COUNTED}) AS r) AS rewards"""  # noqa: S608 (a number of ours)
_NEWEST = f"SELECT {_USER_COLUMNS} FROM users AS u WHERE u.uid < $1 ORDER BY u.uid DESC LIMIT $2"  # noqa: S608 (constants)
_BY_PREFIX = f"""SELECT {_USER_COLUMNS} FROM users AS u WHERE starts_with(u.user_id, $1) AND u.user_id >= $1
    AND u.user_id > $2 ORDER BY u.user_id LIMIT $3"""  # noqa: S608 (constants)
_BY_ID = f"SELECT {_USER_COLUMNS} FROM users AS u WHERE u.user_id = $1"  # noqa: S608 (constants)
_RESETS = f"""SELECT floor(ts / 86400)::integer AS day, count(*) AS users
    FROM (SELECT ts FROM marks WHERE kind = 'reset' ORDER BY seq DESC LIMIT {MAX_COUNTED}) AS m GROUP BY 1"""  # noqa: S608 (a number of ours)
_DEFINITIONS = """SELECT p.name, p.schema, p.schema_hash, p.hash, min(g.day) AS day
    FROM gain_days AS g JOIN policies AS p ON p.id = g.policy
    WHERE g.day > (SELECT max(day) FROM gain_days) - $1 GROUP BY p.id ORDER BY p.id"""
_USER_RESETS = "SELECT ts FROM marks WHERE uid = $1 AND kind = 'reset' ORDER BY seq DESC LIMIT $2"
_DECISIONS = f"""SELECT d.seq, d.nonce, i.decision_id, p.name, d.tip_id, d.score, d.propensity, d.exploring, d.ts,
        r.value, r.applied AND v.seq IS NULL AS applied, coalesce(v.cause, r.reason) AS reason, t.seq, t.nonce
    FROM decisions AS d JOIN policies AS p ON p.id = d.policy
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN LATERAL ({NEWEST_REWARD}) AS r ON true
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq
    LEFT JOIN LATERAL (SELECT j.seq, j.nonce FROM judgements AS j WHERE j.decision_seq = d.seq
        ORDER BY j.seq DESC LIMIT 1) AS t ON true
    WHERE d.uid = $1 AND d.seq < $2 ORDER BY d.seq DESC LIMIT $3"""  # noqa: S608 (constants)
_REWARDS = """SELECT ts, value FROM (SELECT n, ts, value FROM rewards WHERE uid = $1 ORDER BY n DESC LIMIT $2) AS r
    ORDER BY n"""
_TURN = "SELECT query_t, answer_t, query_t1, about FROM turns WHERE judgement = $1"
_VERDICTS = """SELECT j.seq, j.nonce, v.document::json ->> 'label' AS label, v.document::json ->> 'tier' AS tier
    FROM judgements AS j JOIN verdicts AS v ON v.seq = j.verdict_seq WHERE j.seq = ANY ($1::bigint[])"""

_JUDGES_VERDICT = """(SELECT w.document FROM verdicts AS w WHERE w.judgement = j.seq
    AND w.document::json ->> 'tier' IS DISTINCT FROM 'person' ORDER BY w.seq DESC LIMIT 1)"""
_SEARCHED = f"""SELECT seq FROM judgements WHERE seq < $1
    AND ($2::text IS NULL OR uid = (SELECT uid FROM users WHERE user_id = $2)) ORDER BY seq DESC LIMIT {MAX_SEARCHED}"""  # noqa: S608 (a number of ours)
_REVIEWS = f"""SELECT j.seq, j.nonce, u.user_id, j.tip_id, p.name, j.taxonomy, j.ts, j.state, j.reason,
        (SELECT r.value FROM rewards AS r WHERE r.seq = j.reward_seq), v.document, v.quotes, {_JUDGES_VERDICT},
        t.query_t, t.answer_t, t.query_t1, t.about
    FROM ({_SEARCHED}) AS s JOIN judgements AS j ON j.seq = s.seq JOIN users AS u ON u.uid = j.uid
    JOIN policies AS p ON p.id = j.policy LEFT JOIN verdicts AS v ON v.seq = j.verdict_seq
    LEFT JOIN turns AS t ON t.judgement = j.seq
    WHERE j.state <> 'waiting' AND CASE coalesce($3::text, 'any') WHEN 'any' THEN true
            WHEN 'open' THEN v.document::json ->> 'tier' IS DISTINCT FROM 'person'
            WHEN 'reviewed' THEN v.document::json ->> 'tier' = 'person' ELSE j.state = $3 END
        AND ($4::text IS NULL OR v.document::json ->> 'label' = $4)
        AND ($5::float8 IS NULL OR (v.document::json ->> 'confidence')::float8 <= $5)
    ORDER BY j.seq DESC LIMIT $6"""  # noqa: S608 (constants)
_LAST_SEARCHED = f"SELECT min(seq), count(*) FROM ({_SEARCHED}) AS s"  # noqa: S608 (constants)
_PEOPLE = """FROM conclusions AS c JOIN judgements AS j ON j.seq = c.judgement AND j.verdict_seq = c.verdict_seq
    JOIN verdicts AS v ON v.seq = c.verdict_seq"""
_PAIRS = f"""SELECT j.taxonomy, v.document::json ->> 'label', {_JUDGES_VERDICT}::json ->> 'label' {_PEOPLE}
    WHERE c.cause = 'override' ORDER BY c.seq DESC LIMIT {MAX_LABELLED}"""
_LABELLED = f"""SELECT t.query_t, t.answer_t, t.query_t1, v.document::json ->> 'label' AS label, j.taxonomy,
        t.about {_PEOPLE} JOIN turns AS t ON t.judgement = j.seq
    WHERE c.cause = 'override' AND j.taxonomy = $1 ORDER BY c.seq"""

_LABELLED_COUNTS = f"""SELECT j.taxonomy, count(*) {_PEOPLE} JOIN turns AS t ON t.judgement = j.seq
    WHERE c.cause = 'override' GROUP BY j.taxonomy"""


async def list_labelled_turns(pool: ConnectionPool, taxonomy: str) -> list[dict[str, str]]:
    """Turns that a person has labelled and whose words are there, oldest first, as ``bandstand judge`` reads them."""
    rows = [dict(row) for row in await pool.fetch(_LABELLED, taxonomy)]
    return [{name: text for name, text in row.items() if name != "about" or text} for row in rows]


class SharedConsoleQueries(ConsoleSource):
    """Looks into a shared ledger, over the connections of the store that is open on it.

    Args:
        ledger: the store's.
    """

    def __init__(self, ledger: SharedLedger) -> None:
        self._readers = ledger.readers
        self._picks = SharedPickReader(ledger.readers)

    async def load_activity(self, since: int, until: int, width: int) -> list[PolicyActivity]:
        """What every policy did from hour ``since`` to before hour ``until``, summed over ``width`` hours each."""
        return [PolicyActivity(*row) for row in await self._readers.fetch(_ACTIVITY, width, since, until)]

    async def list_newest_users(self, before: int | None, limit: int) -> list[UserRow]:
        """Users, the last met first, from the cursor ``before``: a ``uid``."""
        return await self._list_users(_NEWEST, LAST_SEQ if before is None else before, limit)

    async def list_users_by_prefix(self, prefix: str, after: str, limit: int) -> list[UserRow]:
        """Users whose id starts with ``prefix``, in the order of their ids, from the cursor ``after``: an id."""
        return await self._list_users(_BY_PREFIX, prefix, after, limit)

    async def find_user(self, user_id: str) -> UserRow | None:
        """One user."""
        found = await self._list_users(_BY_ID, user_id)
        return found[0] if found else None

    async def list_user_resets(self, uid: int, limit: int) -> list[float]:
        """When the user was reset, in seconds since the epoch, the newest first."""
        return [row["ts"] for row in await self._readers.fetch(_USER_RESETS, uid, limit)]

    async def list_decisions(self, uid: int, before: int | None, limit: int) -> list[DecisionRow]:
        """A user's decisions, newest first, those before the last reset included; from the cursor ``before``: a seq."""
        rows = await self._readers.fetch(_DECISIONS, uid, LAST_SEQ if before is None else before, limit)
        found = []
        for seq, nonce, own_id, *rest, turn, turn_nonce in rows:
            judgement_id = None if turn is None else format_id(turn, turn_nonce)
            values = (seq, own_id if nonce is None else format_id(seq, nonce), *rest, judgement_id)
            found.append(DecisionRow(*values))
        return found

    async def list_rewards(self, uid: int, limit: int) -> list[tuple[float, float]]:
        """Time and value of a user's newest rewards, oldest first."""
        return [(ts, value) for ts, value in await self._readers.fetch(_REWARDS, uid, limit)]

    async def count_resets(self) -> dict[int, int]:
        """How many users were reset on each day since the epoch, as far as the newest events of that kind reach."""
        return {row["day"]: row["users"] for row in await self._readers.fetch(_RESETS)}

    async def list_definitions(self, days: int) -> list[DefinitionRow]:
        """How policies were defined in the newest ``days``, in the order in which they came."""
        return [DefinitionRow(*row) for row in await self._readers.fetch(_DEFINITIONS, days)]

    async def search_decisions(
        self, wanted: DecisionSearch, before: int, limit: int, scanned: int = MAX_DECISIONS_SEARCHED
    ) -> DecisionPage:
        """Decisions that fit, newest first, from the cursor ``before``, among ``scanned`` of them."""
        return await search_shared_decisions(self._readers, wanted, before, limit, scanned)

    async def list_picks(self) -> list[LoggedPick]:
        """The newest decisions with what was picked and what came of it."""
        return await self._picks.read()

    async def find_turn(self, seq: int) -> TurnTexts | None:
        """The words of the turn that was taken as event ``seq``; None once they are deleted."""
        row = await self._readers.fetch_one(_TURN, seq)
        return None if row is None else (row[0], row[1], row[2], row[3])

    async def load_verdicts(self, judgement_ids: Sequence[str]) -> dict[str, VerdictRow]:
        """What stands of judgements, by id; those without a verdict are left out."""
        seqs = [parse_event_id(each) for each in judgement_ids]
        rows = await self._readers.fetch(_VERDICTS, seqs)
        return {format_id(row["seq"], row["nonce"]): VerdictRow(row["label"], row["tier"]) for row in rows}

    async def list_reviews(self, wanted: ReviewFilter, before: int | None, limit: int) -> ReviewPage:
        """Turns that fit, newest first, from the cursor ``before``."""
        searched = (LAST_SEQ if before is None else before, wanted.user_id)
        given = (wanted.state, wanted.label, wanted.max_confidence, limit + 1)
        found = [to_reviewed_turn(row) for row in await self._readers.fetch(_REVIEWS, *searched, *given)]
        if len(found) > limit:
            return ReviewPage(found[:limit], found[limit - 1].seq)
        last, count = await self._readers.fetch_one(_LAST_SEARCHED, *searched)
        return ReviewPage(found, last if count == MAX_SEARCHED else None)

    async def load_label_pairs(self) -> list[LabelPair]:
        """People's newest verdicts that stand, each beside what the judge had said of the turn."""
        return [LabelPair(*row) for row in await self._readers.fetch(_PAIRS)]

    async def list_labelled_turns(self, taxonomy: str) -> list[dict[str, str]]:
        """Turns that a person has labelled and whose words are there, oldest first."""
        return await list_labelled_turns(self._readers, taxonomy)

    async def count_labelled_turns(self) -> dict[str, int]:
        """How many such turns there are of each taxonomy that has any."""
        return {row["taxonomy"]: row["count"] for row in await self._readers.fetch(_LABELLED_COUNTS)}

    async def close(self) -> None:
        """The connections are the store's to close."""

    async def _list_users(self, query: str, *values: Any) -> list[UserRow]:
        return [UserRow(*row) for row in await self._readers.fetch(query, *values)]
