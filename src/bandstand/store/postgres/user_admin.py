"""Users: their profiles, and what operators do to them: list, reset, erase."""

from typing import Any

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.bandit.profile import Profile
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.gain_statements import FREE_NAMES, LOCK_POSITION, SUBTRACT_ARMS, SUBTRACT_GAINS
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_statements import UNCOUNT_METRICS
from bandstand.store.postgres.parting import OWNERS, part_from_models
from bandstand.store.postgres.reward_statements import LOCK_USER
from bandstand.store.postgres.schema import build_striped_upsert
from bandstand.store.records import Erasure, UserPage

_LIST_USERS = """SELECT uid, user_id FROM users WHERE uid > $1 AND starts_with(user_id, $2) ORDER BY uid LIMIT $3"""
_ADD_RESET = "INSERT INTO marks (seq, uid, n, kind, ts, client) VALUES ($1, $2, $3, 'reset', $4, $5)"
_NOTE_RESET = "UPDATE users SET version = $2, reset_version = $2 WHERE uid = $1"
_FREE_PULLS = """INSERT INTO pulls (uid, policy, pulls, explores, last)
    SELECT $1::bigint, policy, -sum(decisions), -sum(explores), 0 FROM rollups_s
    WHERE hour = -1 AND policy > 0 GROUP BY policy"""
"""Nothing of all decisions counts for everybody's model any more."""
_FIND_USER = "SELECT uid FROM users WHERE user_id = $1"
_LOCK_TO_ERASE = "SELECT uid FROM users WHERE user_id = $1 FOR UPDATE"
_UNCOUNT_ENROLLED = build_striped_upsert(
    "enrolled", "SELECT experiment, arm, $2::smallint, -count(*) FROM enrolments WHERE uid = $1 GROUP BY 1, 2"
)
_UNCOUNT_WAITING = build_striped_upsert(
    "judgement_totals",
    """SELECT policy, state, coalesce(reason, ''), $2::smallint, -count(*) FROM judgements
        WHERE uid = $1 AND state = 'waiting' GROUP BY 1, 2, 3""",
)
_DELETE_KEYS = """DELETE FROM idempotency WHERE reward_seq IN (
    SELECT seq FROM rewards WHERE uid = $1 UNION ALL SELECT seq FROM judgements WHERE uid = $1
    UNION ALL SELECT seq FROM reward_parts WHERE uid = $1)"""
_DELETE_TEXTS = "DELETE FROM turns WHERE judgement IN (SELECT seq FROM judgements WHERE uid = $1)"
TABLES_OF_A_USER = (
    *(
        "marks",
        "revocations",
        "claims",
        "reactions",
        "reward_parts",
        "windows",
        "rewards",
        "shadows",
        "lineage",
        "decision_ids",
    ),
    *("decisions", "verdicts", "conclusions", "judgements", "generated_tips", "generations", "enrolments"),
    *("checkpoints", "baselines", "pulls", "gain_users", "arm_users", "subjects", "prior_members"),
)
"""Every table with rows of a user; what hangs on these by other keys goes before."""
_ADD_TOMBSTONE = """INSERT INTO tombstones (user_hash, seq, ts) VALUES ($1, $2, $3)
    ON CONFLICT (user_hash) DO UPDATE SET seq = excluded.seq, ts = excluded.ts"""
_ADD_MARK = "INSERT INTO marks (seq, uid, kind, ts, client) VALUES ($1, NULL, 'erasure', $2, $3)"
_IS_MARKED = "SELECT EXISTS (SELECT 1 FROM marks WHERE seq = $1)"
_TAKE_OUT_PRIORS = """UPDATE priors SET document = NULL, wanted = wanted + 1
    WHERE policy IN (SELECT policy FROM prior_members WHERE uid = $1)"""
FIND_TOMBSTONE = "SELECT seq FROM tombstones WHERE user_hash = $1"


class SharedUsers:
    """The users of a shared ledger, as :class:`bandstand.store.user_protocol.UserRegister` has them."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now; the ledger may have a later one."""
        user = self._ledger.users.get(user_id)
        return None if user is None else user.profile

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile as the ledger has it now."""
        return (await self._ledger.users.load(user_id)).profile

    def is_behind(self, user_id: str) -> bool:
        """Whether other processes had moved the user when this one last looked."""
        user = self._ledger.users.get(user_id)
        return user is not None and user.is_behind

    async def refresh_profile(self, user_id: str) -> int | None:
        """Fold what the ledger has now of a user in memory, by a read that begins after the call."""
        self._ledger.refreshed_scores += 1
        user = self._ledger.users.get(user_id)
        return None if user is None else await self._ledger.users.catch_up(user)

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        rows = await self._ledger.readers.fetch(_LIST_USERS, after, prefix, limit + 1)
        page = rows[:limit]
        return UserPage([row["user_id"] for row in page], page[-1]["uid"] if len(rows) > limit else None)

    async def count_users(self) -> int:
        """How many users the ledger knows."""
        return int((await self._ledger.readers.fetch_one("SELECT count(*) FROM users"))[0])

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""
        ledger = self._ledger
        ts = ledger.clock()
        seq = ledger.next_seq(ts)

        async def reset(channel: Channel, tries: int) -> None:
            session = channel.session
            if tries and await session.fetchval(_IS_MARKED, seq):
                return
            user = await session.fetchrow(LOCK_USER, user_id)
            if user is not None:
                n = user["version"] + 1
                await session.execute(_ADD_RESET, seq, user["uid"], n, ts, client)
                await session.execute(_NOTE_RESET, user["uid"], n)
                await session.execute("DELETE FROM pulls WHERE uid = $1", user["uid"])
                if ledger.options.has_one_model and user_id == EVERYBODY:
                    await session.execute(_FREE_PULLS, user["uid"])

        await ledger.writers.transact(reset)
        ledger.users.drop(user_id)

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent.

        What the database keeps of deleted rows until it has vacuumed them, its log, replicas and backups are out of
        reach: the receipt does not say that the log is empty.
        """
        ledger = self._ledger
        ts, tombstone = ledger.clock(), compute_tombstone(ledger.secret, user_id)
        counted: list[tuple[int, dict[str, int]]] = []
        person = await ledger.readers.fetch_one(_FIND_USER, user_id)
        taught = [] if person is None else await ledger.readers.fetch(OWNERS, person["uid"])
        owners = [row["user_id"] for row in taught]
        for owner in owners:  # what is in memory is not folded under its lock
            await ledger.users.load(owner)

        async def erase(channel: Channel, tries: int) -> dict[str, int] | None:
            session = channel.session
            if tries and counted and await session.fetchval(_IS_MARKED, counted[-1][0]):
                return counted[-1][1]  # it is done, and its answer was lost
            uid = await session.fetchval(_LOCK_TO_ERASE, user_id)
            if uid is None:
                return None
            parted = await part_from_models(ledger, channel, uid, ts)
            deleted = await _delete_rows(channel, uid)
            counts = {name: count + parted[name] for name, count in deleted.items()}
            await session.execute("DELETE FROM users WHERE uid = $1", uid)
            # Numbered last, since an import compares: a state that was exported while this waited is older.
            seq = ledger.next_seq(ledger.clock())
            await session.execute(_ADD_TOMBSTONE, tombstone, seq, ts)
            await session.execute(_ADD_MARK, seq, ts, client)
            counted.append((seq, counts))
            return counts

        counts = await ledger.writers.transact(erase, is_long=True)
        for name in (user_id, *owners):
            ledger.users.drop(name)
        if counts is None:
            return Erasure()
        return Erasure(
            decisions=counts["decisions"],
            rewards=counts["rewards"],
            marks=counts["marks"],
            documents=counts["checkpoints"] + counts["baselines"],
            generations=counts["generations"],
            revocations=counts["revocations"],
            enrolments=counts["enrolments"],
            shadows=counts["shadows"],
            turns=counts["judgements"],
            verdicts=counts["verdicts"],
            parts=counts["reward_parts"],
            log_emptied=False,
        )


async def _delete_rows(channel: Channel, uid: int) -> dict[str, int]:
    """Delete all that hangs on a user's key, and take them out of sums; how many rows went, by table."""
    session = channel.session
    for statement in (_UNCOUNT_ENROLLED, _UNCOUNT_WAITING, UNCOUNT_METRICS):
        await session.execute(statement, uid, channel.stripe)
    await session.fetchval(LOCK_POSITION)  # one after the other: they change the same sums
    for statement in (SUBTRACT_GAINS, SUBTRACT_ARMS, FREE_NAMES, _TAKE_OUT_PRIORS):
        await session.execute(statement, uid)
    for statement in (_DELETE_KEYS, _DELETE_TEXTS):
        await session.execute(statement, uid)
    return {name: await _delete(session, name, uid) for name in TABLES_OF_A_USER}


async def _delete(session: Any, table: str, uid: int) -> int:
    tag: str = await session.execute(f"DELETE FROM {table} WHERE uid = $1", uid)  # noqa: S608 (constants)
    return int(tag.rsplit(maxsplit=1)[-1])
