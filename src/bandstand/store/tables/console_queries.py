"""Queries of the console: pages of the ledger, each found with bounded work, whatever the ledger's size.

Counts come from the hourly rollups, pages from indexes, and what would have to be counted row by row is counted up to
``MAX_COUNTED`` and no further. Everything is read on connections and a thread of its own, beside the writer.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bandstand.errors import StorageUnavailableError
from bandstand.store.ids import build_id_sql, format_id, parse_event_id
from bandstand.store.records import LAST_SEQ
from bandstand.store.sqlite.errors import to_storage_error
from bandstand.store.sqlite.reader import LedgerReader
from bandstand.store.tables import reviews
from bandstand.store.tables.judgements import TurnTexts
from bandstand.store.tables.picks import LoggedPick, PickReader
from bandstand.store.tables.reviews import LabelPair, ReviewFilter, ReviewPage
from bandstand.store.tables.shown import MAX_SEARCHED, DecisionPage, DecisionSearch, search_decisions

T = TypeVar("T")

MAX_COUNTED = 10_000
"""Events of one user that are counted; beyond that a count says no more than that there are more."""

_ACTIVITY = """SELECT r.hour / ?1 * ?1, p.name, sum(r.decisions), sum(r.explores), sum(r.rewards), sum(r.reward_sum)
    FROM rollups AS r JOIN policies AS p ON p.id = r.policy WHERE r.hour >= ?2 AND r.hour < ?3
    GROUP BY 1, 2 ORDER BY 1, 2"""
_USER_COLUMNS = f"""uid, user_id,
    (SELECT ts FROM decisions WHERE seq = (
        SELECT seq FROM user_decisions AS o WHERE o.uid = users.uid ORDER BY seq DESC LIMIT 1)),
    (SELECT ts FROM rewards WHERE seq = (
        SELECT seq FROM user_rewards AS o WHERE o.uid = users.uid ORDER BY seq DESC LIMIT 1)),
    (SELECT count(*) FROM (SELECT 1 FROM user_decisions AS o WHERE o.uid = users.uid LIMIT {MAX_COUNTED})),
    (SELECT count(*) FROM (SELECT 1 FROM user_rewards AS o WHERE o.uid = users.uid LIMIT {MAX_COUNTED}))"""  # noqa: S608 (a number of ours)
_USERS_NEWEST_FIRST = f"SELECT {_USER_COLUMNS} FROM users WHERE uid < ? ORDER BY uid DESC LIMIT ?"  # noqa: S608 (constants)
_USERS_BY_PREFIX = (
    f"SELECT {_USER_COLUMNS} FROM users WHERE user_id >= ?1 AND user_id < ?2 AND user_id > ?3 ORDER BY user_id LIMIT ?4"  # noqa: S608 (constants)
)
_USER_BY_ID = f"SELECT {_USER_COLUMNS} FROM users WHERE user_id = ?"  # noqa: S608 (constants)
_RESETS = f"""SELECT cast(ts / 86400 AS INTEGER), count(*)
    FROM (SELECT kind, ts FROM marks ORDER BY seq DESC LIMIT {MAX_COUNTED}) WHERE kind = 'reset' GROUP BY 1"""  # noqa: S608 (a number of ours)
_USER_RESETS = "SELECT ts FROM marks WHERE uid = ? AND kind = 'reset' ORDER BY seq DESC LIMIT ?"
_DECISIONS = f"""SELECT d.seq, d.nonce, i.decision_id, p.name, d.tip_id, d.score, d.propensity, d.exploring, d.ts,
        r.value, r.applied AND v.seq IS NULL, coalesce(v.cause, r.reason),
        (SELECT {build_id_sql("j")} FROM judgements AS j WHERE j.decision_seq = d.seq ORDER BY j.seq DESC LIMIT 1)
    FROM decisions AS d JOIN policies AS p ON p.id = d.policy
    LEFT JOIN decision_ids AS i ON d.nonce IS NULL AND i.seq = d.seq
    LEFT JOIN rewards AS r ON r.seq = max(
        coalesce((SELECT max(seq) FROM rewards WHERE decision_seq = d.seq), 0),
        coalesce((SELECT max(seq) FROM rewards WHERE linked_seq = d.seq), 0))
    LEFT JOIN revocations AS v ON v.reward_seq = r.seq
    WHERE d.seq IN (SELECT seq FROM user_decisions WHERE uid = ? AND seq < ? ORDER BY seq DESC LIMIT ?)
    ORDER BY d.seq DESC"""  # noqa: S608 (constants)
_REWARDS = """SELECT ts, value FROM rewards
    WHERE seq IN (SELECT seq FROM user_rewards WHERE uid = ? ORDER BY seq DESC LIMIT ?) ORDER BY seq"""
_TURN = "SELECT query_t, answer_t, query_t1, about FROM turns WHERE judgement = ?"
_VERDICTS = f"""SELECT {build_id_sql("j")}, v.document ->> 'label', v.document ->> 'tier'
    FROM judgements AS j JOIN verdicts AS v ON v.seq = j.verdict_seq WHERE j.seq IN ({{seqs}})"""  # noqa: S608 (constants)
_DEFINITIONS = """SELECT p.name, p.schema, p.schema_hash, p.hash, min(g.day)
    FROM gain_days AS g JOIN policies AS p ON p.id = g.policy
    WHERE g.day > (SELECT max(day) FROM gain_days) - ? GROUP BY p.id ORDER BY p.id"""
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class PolicyActivity:
    """What one policy did in one stretch of hours, which begins ``hour`` hours after the epoch."""

    hour: int
    policy: str
    decisions: int
    explores: int
    rewards: int
    reward_sum: float


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user at a glance.

    Attributes:
        uid: the ledger's key of the user.
        last_seen: when the newest event came, in seconds since the epoch; None if all of them have been trimmed.
        decisions: how many are in the ledger, counted up to ``MAX_COUNTED``; so are ``rewards``.
    """

    uid: int
    user_id: str
    last_seen: float | None
    decisions: int
    rewards: int


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision at a glance, with the reward that it got.

    Attributes:
        reward: the value of the newest; None if none came.
        applied: whether it taught, and was not taken back since; None if none came.
        reason: why not.
        judgement_id: of the newest turn about it; None if there is none.
    """

    seq: int
    decision_id: str
    policy: str
    tip_id: str
    score: float
    propensity: float
    exploring: bool
    ts: float
    reward: float | None
    applied: bool | None
    reason: str | None
    judgement_id: str | None


@dataclass(frozen=True, slots=True)
class DefinitionRow:
    """How a policy was defined from a day on, in days since the epoch: the first whose decisions were rewarded."""

    policy: str
    schema: str
    schema_hash: str
    policy_hash: str
    day: int


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """The verdict that stands: its label, and the tier that gave it; None if it has none."""

    label: str | None
    tier: str | None


class ConsoleSource(Protocol):
    """What the console asks of a ledger, whichever engine keeps it.

    Raises:
        StorageUnavailableError: of any question: the ledger cannot be read.
    """

    async def load_activity(self, since: int, until: int, width: int) -> list[PolicyActivity]:
        """What every policy did from hour ``since`` to before hour ``until``, summed over ``width`` hours each."""

    async def list_newest_users(self, before: int | None, limit: int) -> list[UserRow]:
        """Users, the last met first, from the cursor ``before``: a ``uid``."""

    async def list_users_by_prefix(self, prefix: str, after: str, limit: int) -> list[UserRow]:
        """Users whose id starts with ``prefix``, in the order of their ids, from the cursor ``after``: an id."""

    async def find_user(self, user_id: str) -> UserRow | None:
        """One user."""

    async def list_user_resets(self, uid: int, limit: int) -> list[float]:
        """When the user was reset, in seconds since the epoch, the newest first."""

    async def list_decisions(self, uid: int, before: int | None, limit: int) -> list[DecisionRow]:
        """A user's decisions, newest first, those before the last reset included; from the cursor ``before``: a seq."""

    async def list_rewards(self, uid: int, limit: int) -> list[tuple[float, float]]:
        """Time and value of a user's newest rewards, oldest first."""

    async def count_resets(self) -> dict[int, int]:
        """How many users were reset on each day since the epoch, as far as the newest events of that kind reach."""

    async def list_definitions(self, days: int) -> list[DefinitionRow]:
        """How policies were defined in the newest ``days``, in the order in which they came."""

    async def search_decisions(
        self, wanted: DecisionSearch, before: int, limit: int, scanned: int = MAX_SEARCHED
    ) -> DecisionPage:
        """Decisions that fit, newest first, from the cursor ``before``, among ``scanned`` of them."""

    async def list_picks(self) -> list[LoggedPick]:
        """The newest decisions with what was picked and what came of it."""

    async def find_turn(self, seq: int) -> TurnTexts | None:
        """The words of the turn that was taken as event ``seq``; None once they are deleted."""

    async def load_verdicts(self, judgement_ids: Sequence[str]) -> dict[str, VerdictRow]:
        """What stands of judgements, by id; those without a verdict are left out."""

    async def list_reviews(self, wanted: ReviewFilter, before: int | None, limit: int) -> ReviewPage:
        """Turns that fit, newest first, from the cursor ``before``."""

    async def load_label_pairs(self) -> list[LabelPair]:
        """People's newest verdicts that stand, each beside what the judge had said of the turn."""

    async def list_labelled_turns(self, taxonomy: str) -> list[dict[str, str]]:
        """Turns that a person has labelled and whose words are there, oldest first."""

    async def count_labelled_turns(self) -> dict[str, int]:
        """How many such turns there are of each taxonomy that has any."""

    async def close(self) -> None:
        """Answer what was asked, and released the ledger."""


class ConsoleQueries(ConsoleSource):
    """Looks into the ledger of one state directory.

    Args:
        state_dir: where the ledger is; it must be there at the first question.

    Raises:
        StorageUnavailableError: of any question: the ledger cannot be read.
    """

    def __init__(self, state_dir: Path) -> None:
        self._reader = LedgerReader(state_dir / "ledger.db")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-sight")
        self._picks = PickReader()

    async def load_activity(self, since: int, until: int, width: int) -> list[PolicyActivity]:
        """What every policy did from hour ``since`` to before hour ``until``, summed over ``width`` hours each."""
        return await self._run_query(_load_activity, since, until, width)

    async def list_newest_users(self, before: int | None, limit: int) -> list[UserRow]:
        """Users, the last met first, from the cursor ``before``: a ``uid``."""
        return await self._run_query(_list_users, _USERS_NEWEST_FIRST, LAST_SEQ if before is None else before, limit)

    async def list_users_by_prefix(self, prefix: str, after: str, limit: int) -> list[UserRow]:
        """Users whose id starts with ``prefix``, in the order of their ids, from the cursor ``after``: an id."""
        return await self._run_query(_list_users, _USERS_BY_PREFIX, prefix, prefix + _LAST_CHARACTER, after, limit)

    async def find_user(self, user_id: str) -> UserRow | None:
        """One user."""
        found = await self._run_query(_list_users, _USER_BY_ID, user_id)
        return found[0] if found else None

    async def list_user_resets(self, uid: int, limit: int) -> list[float]:
        """When the user was reset, in seconds since the epoch, the newest first."""
        return await self._run_query(_list_user_resets, uid, limit)

    async def list_decisions(self, uid: int, before: int | None, limit: int) -> list[DecisionRow]:
        """A user's decisions, newest first, those before the last reset included; from the cursor ``before``: a seq."""
        return await self._run_query(_list_decisions, uid, LAST_SEQ if before is None else before, limit)

    async def list_rewards(self, uid: int, limit: int) -> list[tuple[float, float]]:
        """Time and value of a user's newest rewards, oldest first."""
        return await self._run_query(_list_rewards, uid, limit)

    async def count_resets(self) -> dict[int, int]:
        """How many users were reset on each day since the epoch, as far as the newest events of that kind reach."""
        return await self._run_query(_count_resets)

    async def list_definitions(self, days: int) -> list[DefinitionRow]:
        """How policies were defined in the newest ``days``, in the order in which they came."""
        return await self._run_query(_list_definitions, days)

    async def search_decisions(
        self, wanted: DecisionSearch, before: int, limit: int, scanned: int = MAX_SEARCHED
    ) -> DecisionPage:
        """Decisions that fit, newest first, from the cursor ``before``, among ``scanned`` of them."""
        return await self._run_query(search_decisions, wanted, before, limit, scanned)

    async def list_picks(self) -> list[LoggedPick]:
        """The newest decisions with what was picked and what came of it."""
        return await self._run_query(self._picks.read)

    async def find_turn(self, seq: int) -> TurnTexts | None:
        """The words of the turn that was taken as event ``seq``: question, answer, next message; None once deleted."""
        return await self._run_query(_find_turn, seq)

    async def load_verdicts(self, judgement_ids: Sequence[str]) -> dict[str, VerdictRow]:
        """What stands of judgements, by id; those without a verdict are left out."""
        return await self._run_query(_load_verdicts, [parse_event_id(each) for each in judgement_ids])

    async def list_reviews(self, wanted: ReviewFilter, before: int | None, limit: int) -> ReviewPage:
        """Turns that fit, newest first, from the cursor ``before``."""
        return await self._run_query(reviews.list_reviews, wanted, before, limit)

    async def load_label_pairs(self) -> list[LabelPair]:
        """People's newest verdicts that stand, each beside what the judge had said of the turn."""
        return await self._run_query(reviews.load_label_pairs)

    async def list_labelled_turns(self, taxonomy: str) -> list[dict[str, str]]:
        """Turns that a person has labelled and whose words are there, oldest first."""
        return await self._run_query(_list_labelled_turns, taxonomy)

    async def count_labelled_turns(self) -> dict[str, int]:
        """How many such turns there are of each taxonomy that has any."""
        return await self._run_query(reviews.count_labelled_turns)

    async def close(self) -> None:
        """Answer what was asked, and released the ledger."""
        await asyncio.to_thread(self._thread.shutdown)
        self._reader.close()

    async def _run_query(self, query: Callable[..., T], *values: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._reader.run_query, query, *values)
        except sqlite3.Error as error:
            raise to_storage_error(error) from error
        except RuntimeError as error:  # the executor has been shut down
            raise StorageUnavailableError("the service is shutting down") from error


def _load_activity(connection: sqlite3.Connection, since: int, until: int, width: int) -> list[PolicyActivity]:
    return [PolicyActivity(*row) for row in connection.execute(_ACTIVITY, (width, since, until))]


def _list_users(connection: sqlite3.Connection, query: str, *values: object) -> list[UserRow]:
    return [
        UserRow(uid, user_id, _latest_time(decided, rewarded), decisions, rewards)
        for uid, user_id, decided, rewarded, decisions, rewards in connection.execute(query, values)
    ]


def _latest_time(*times: float | None) -> float | None:
    return max((ts for ts in times if ts is not None), default=None)


def _list_user_resets(connection: sqlite3.Connection, uid: int, limit: int) -> list[float]:
    return [ts for (ts,) in connection.execute(_USER_RESETS, (uid, limit))]


def _count_resets(connection: sqlite3.Connection) -> dict[int, int]:
    return dict(connection.execute(_RESETS))


def _list_definitions(connection: sqlite3.Connection, days: int) -> list[DefinitionRow]:
    return [DefinitionRow(*row) for row in connection.execute(_DEFINITIONS, (days,))]


def _list_decisions(connection: sqlite3.Connection, uid: int, before: int, limit: int) -> list[DecisionRow]:
    return [
        DecisionRow(
            seq,
            own_id if nonce is None else format_id(seq, nonce),
            policy,
            tip_id,
            score,
            propensity,
            bool(exploring),
            ts,
            value,
            None if applied is None else bool(applied),
            *rest,
        )
        for (seq, nonce, own_id, policy, tip_id, score, propensity, exploring, ts, value, applied, *rest) in (
            connection.execute(_DECISIONS, (uid, before, limit))
        )
    ]


def _list_rewards(connection: sqlite3.Connection, uid: int, limit: int) -> list[tuple[float, float]]:
    return connection.execute(_REWARDS, (uid, limit)).fetchall()


def _find_turn(connection: sqlite3.Connection, seq: int) -> TurnTexts | None:
    found: TurnTexts | None = connection.execute(_TURN, (seq,)).fetchone()
    return found


def _list_labelled_turns(connection: sqlite3.Connection, taxonomy: str) -> list[dict[str, str]]:
    return list(reviews.iter_labelled_turns(connection, taxonomy))


def _load_verdicts(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[str, VerdictRow]:
    query = _VERDICTS.format(seqs=", ".join("?" * len(seqs)))
    return {judgement_id: VerdictRow(*rest) for judgement_id, *rest in connection.execute(query, seqs)}
