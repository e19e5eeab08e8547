"""Users in memory: each a profile as of a version, caught up whenever the ledger turns out to have a later one."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.bandit.profile import Profile
from bandstand.errors import BandstandError, StorageUnavailableError
from bandstand.store.learners.documents import DocumentError, parse, render
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.postgres.folding import EVENT_COLUMNS, Event, fold_events
from bandstand.store.postgres.group_lane import GroupLane
from bandstand.store.records import Reward
from bandstand.store.tables.policies import PolicyRegistry

CHECKPOINT_EVENTS = 64
"""Events of a user folded past the checkpoint, after which it is made again: so many folds at most to read a user."""

_USER = """SELECT u.uid, u.version, u.reset_version, greatest(
        (SELECT max(seq) FROM decisions WHERE uid = u.uid),
        (SELECT seq FROM rewards WHERE uid = u.uid ORDER BY n DESC LIMIT 1)) AS last_seq,
        c.version AS checkpoint_version, c.document AS checkpoint, b.version AS baseline_version, b.document AS baseline
    FROM users AS u LEFT JOIN baselines AS b ON b.uid = u.uid AND u.uid <> $2
    LEFT JOIN checkpoints AS c ON c.uid = u.uid AND u.uid <> $2 AND c.version >= u.parted_version AND NOT EXISTS (
        SELECT 1 FROM revocations AS v WHERE v.uid = c.uid AND v.n > c.version AND v.reward_n <= c.version)
    WHERE u.user_id = $1"""
"""No checkpoint is read of a user who is in memory, nor one from which something was taken back since,
or from before the erasure of somebody who had taught the user's model."""
BASELINE = "SELECT version, document FROM baselines WHERE uid = $1"

EVENTS = f"SELECT {EVENT_COLUMNS} FROM events_of($1, $2)"  # noqa: S608 (constants)
NEWER_EVENTS = f"""SELECT {EVENT_COLUMNS}, (SELECT version FROM baselines WHERE uid = $1) AS baseline,
        (SELECT parted_version FROM users WHERE uid = $1) AS parted
    FROM events_of($1, $2)"""  # noqa: S608 (constants)
"""Events, up to which retention has taken the earlier ones, and erasures some: all as of the same moment."""
NEWER_EVENTS_OF_MANY = f"""SELECT g.uid, {EVENT_COLUMNS}, (SELECT version FROM baselines AS b WHERE b.uid = g.uid)
        AS baseline, (SELECT parted_version FROM users AS u WHERE u.uid = g.uid) AS parted
    FROM unnest($1::bigint[], $2::bigint[]) AS g(uid, version) CROSS JOIN LATERAL events_of(g.uid, g.version)
    ORDER BY g.uid, n"""  # noqa: S608 (constants)
"""The same of several users."""
_MAX_READS = 3
_WORKERS = 2
_MAX_PENDING = 100_000
_COUNTERS = """SELECT policy, count(*) AS pulls, count(*) FILTER (WHERE exploring) AS explores, max(ts) AS last
    FROM decisions WHERE uid = $1 AND version >= $2 GROUP BY policy
    UNION ALL SELECT policy, pulls, explores, last FROM pulls WHERE uid = $1"""
_COUNTERS_OF_ALL = """SELECT policy, sum(decisions)::bigint AS pulls, sum(explores)::bigint AS explores, 0.0 AS last
    FROM rollups_s WHERE hour = -1 AND policy > 0 AND $2::bigint >= 0 GROUP BY policy
    UNION ALL SELECT policy, pulls, explores, last FROM pulls WHERE uid = $1
    UNION ALL (SELECT policy, 0, 0, ts FROM decisions WHERE uid = $1 ORDER BY seq DESC LIMIT 1)"""
"""Of everybody's model: the totals of all decisions, less what does not count any more; nobody counts millions."""
WRITE_CHECKPOINT = """INSERT INTO checkpoints (uid, version, document)
    SELECT uid, $2, $3 FROM (SELECT uid FROM users WHERE uid = $1 AND version >= $2 FOR KEY SHARE) AS u
    ON CONFLICT (uid) DO UPDATE SET version = excluded.version, document = excluded.document
    WHERE checkpoints.version < excluded.version"""


class CachedProfile:
    """A user in memory.

    Attributes:
        uid: the ledger's key; 0 for a user without a row.
        checkpoint: the version of the newest checkpoint that this process knows of.
        is_behind: other processes have moved the user as of the last look, so that the ledger most likely has more.
    """

    __slots__ = ("checkpoint", "is_behind", "profile", "uid")

    def __init__(self, profile: Profile, uid: int, checkpoint: int = 0) -> None:
        self.profile = profile
        self.uid = uid
        self.checkpoint = checkpoint
        self.is_behind = False


class ProfileCache:
    """The users of one process that are in memory.

    Args:
        readers: connections that read.
        writers: connections that write, and may lose what they wrote last.
        registry: policies by the ids that rows use.
        prepare: takes up what the registry lacks to read events.
        observe_seq: called with the newest event number of a user.
        max_users: how many stay in memory.
        has_one_model: whether all decisions are one user's.
    """

    def __init__(
        self,
        readers: ConnectionPool,
        writers: ConnectionPool,
        registry: PolicyRegistry,
        *,
        prepare: Callable[[list[Event]], Awaitable[None]],
        observe_seq: Callable[[int], None],
        max_users: int,
        has_one_model: bool = False,
    ) -> None:
        self._has_one_model = has_one_model
        self._readers = readers
        self._writers = writers
        self._registry = registry
        self._prepare = prepare
        self._observe_seq = observe_seq
        self._max_users = max_users
        self._users: OrderedDict[str, CachedProfile] = OrderedDict()  # least recently met first
        self._due: dict[int, CachedProfile] = {}  # whose checkpoint is to be made
        self.catching_up = GroupLane(
            readers,
            self._read_newer,
            workers=_WORKERS,
            max_pending=_MAX_PENDING,
            observe=lambda _size, _seconds: None,
            on_error=lambda _: None,
            get_key=attrgetter("uid"),
        )
        self._is_due = asyncio.Event()
        self._writing = asyncio.Lock()
        self._drops = 0  # how often everybody was forgotten

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._users)

    @property
    def due_checkpoints(self) -> int:
        """How many users' states are to be written."""
        return len(self._due)

    def get(self, user_id: str) -> CachedProfile | None:
        """The user if they are in memory; they go last from here on."""
        user = self._users.get(user_id)
        if user is not None:
            self._users.move_to_end(user_id)
        return user

    def drop(self, user_id: str) -> None:
        """Evict the user: the next request reads them from the ledger."""
        self._users.pop(user_id, None)

    def drop_all(self) -> None:
        """Forget everybody: what counts has changed."""
        self._users.clear()
        self._due.clear()
        self._drops += 1

    async def load(self, user_id: str) -> CachedProfile:
        """The user as the ledger has them now, with what their decisions count.

        Raises:
            StorageUnavailableError: retention took events again and again while they were read.
        """
        for tries in range(1, _MAX_READS + 1):
            # What cannot be given back exactly out of memory, or a checkpoint, is folded again from further back.
            # What cannot out of a baseline either is as near as anybody will come.
            loaded = await self._try_load(user_id, is_last=tries == _MAX_READS)
            if loaded is not None:
                return loaded
            self.drop(user_id)
        raise StorageUnavailableError("the user's events went while they were read; try again")

    async def _try_load(self, user_id: str, *, is_last: bool) -> CachedProfile | None:
        user, known = self.get(user_id), None
        counters_of = _COUNTERS_OF_ALL if self._has_one_model and user_id == EVERYBODY else _COUNTERS
        drops = self._drops

        async def read(channel: Channel, _: int) -> Any:
            session = channel.session
            row = await session.fetchrow(_USER, user_id, 0 if user is None else user.uid)
            if row is None:
                return None
            start, after, is_state = None, 0, True
            if user is not None and user.uid == row["uid"]:
                after = user.profile.seq
            else:
                start, is_state = _read_start(row, user_id, self._registry)
                after = 0 if start is None else start.seq
            events = [] if row["version"] <= after else await session.fetch(NEWER_EVENTS, row["uid"], after)
            counters = await session.fetch(counters_of, row["uid"], row["reset_version"])
            return row, (start, is_state), after, events, counters

        known = await self._readers.run(read)
        if known is None:
            return self._keep(CachedProfile(Profile(user_id), 0)) if user is None or user.uid else self._keep(user)
        row, (start, is_state), after, events, counters = known
        self._observe_seq(row["last_seq"] or 0)
        await self._prepare([*events, *counters])
        now = self._users.get(user_id)  # somebody else may have been quicker
        if now is not None and now.uid == row["uid"]:
            is_state = True
        elif user is not None and user.uid == row["uid"]:
            now = user  # it was released meanwhile, and is what the events follow
        else:
            now = CachedProfile(start or Profile(user_id), row["uid"], 0 if start is None else start.seq)
        if drops != self._drops or now.profile.seq < after:
            # What counts has changed, or what is in memory now was read earlier: some events before these are not here.
            return None
        if is_missing(now.profile, events, is_state=is_state) or not (self.fold(now, events) or is_last):
            return None
        self._count(now.profile, counters)
        return self._keep(now)

    async def catch_up_to(self, user: CachedProfile, version: int) -> None:
        """Have a user in memory hold all events up to a version that the ledger has, or leave memory."""
        if user.profile.seq < version and self._users.get(user.profile.user_id) is user:
            await self.catch_up(user)

    async def catch_up(self, user: CachedProfile) -> int | None:
        """Fold what the ledger has after a user's version; whoever else asks meanwhile waits for the next read.

        Returns:
            The version that they hold now; ``None`` if they cannot, and have left memory.
        """
        events: list[Event] = await self.catching_up.submit(user)
        await self._prepare(events)
        if is_missing(user.profile, events) or not self.fold(user, events):
            self.drop(user.profile.user_id)
            return None
        if not events:
            user.is_behind = False
        return user.profile.seq

    async def _read_newer(self, channel: Channel, users: list[CachedProfile], tries: int) -> list[list[Event]]:
        """The events after the versions of users, as of one moment."""
        del tries
        versions = {user.uid: user.profile.seq for user in users}
        found: dict[int, list[Event]] = {uid: [] for uid in versions}
        for event in await channel.session.fetch(NEWER_EVENTS_OF_MANY, list(versions), list(versions.values())):
            found[event["uid"]].append(event)
        return [found[user.uid] for user in users]

    def fold(self, user: CachedProfile, events: list[Event]) -> bool:
        """Fold events into a user in memory; returns whether the sums are exact."""
        exact = fold_events(self._registry, user.profile, events)
        if exact:
            self.note_fold(user)
        return exact

    def fold_reward(self, reward: Reward, uid: int, n: int) -> None:
        """Fold a user's reward of that number, if they are in memory as of the event before."""
        user = self.get(reward.user_id)
        if user is None or user.uid not in {0, uid} or user.profile.seq != n - 1:
            return
        user.uid = uid
        for ref, x in ((reward.policy, reward.x), *reward.shadow_updates):
            if x is not None:
                memory = self._registry.get_memory(ref.name)
                user.profile.apply_reward(n, ref.key, reward.ts, x, reward.value, reward.weight, *memory)
        self.note_fold(user)

    def note_fold(self, user: CachedProfile) -> None:
        """Make the checkpoint of a user again, if enough events were folded since."""
        if user.profile.seq - user.checkpoint >= CHECKPOINT_EVENTS:
            self._due[user.uid] = user
            self._is_due.set()

    async def run_checkpoints(self) -> None:
        """Write the checkpoints that are due, as long as the process lives."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            with suppress(BandstandError):  # the next event makes it due again
                await self.write_checkpoints()

    async def write_checkpoints(self) -> None:
        """Write the checkpoints that are due, and wait for those that are being written."""
        async with self._writing:
            await self._write_due()

    async def _write_due(self) -> None:
        while self._due:
            drops = self._drops
            uid, user = self._due.popitem()
            snapshot = user.profile.copy()
            document = await asyncio.to_thread(render, snapshot)

            async def write(
                channel: Channel, _: int, *, values: tuple[Any, ...] = (uid, snapshot.seq, document), drops: int = drops
            ) -> None:
                if drops == self._drops:  # what counts may have changed while it waited
                    await channel.session.execute(WRITE_CHECKPOINT, *values)

            await self._writers.run(write)
            user.checkpoint = max(user.checkpoint, snapshot.seq)

    def _keep(self, user: CachedProfile) -> CachedProfile:
        user_id = user.profile.user_id
        self._users[user_id] = user
        self._users.move_to_end(user_id)
        while len(self._users) > self._max_users:
            _, oldest = self._users.popitem(last=False)
            if oldest.profile.seq > oldest.checkpoint:
                self._due[oldest.uid] = oldest
                self._is_due.set()
        return user

    def _count(self, profile: Profile, counters: list[Any]) -> None:
        """Take over what decisions count, which no event moves."""
        sums: dict[tuple[str, str], tuple[int, int, float]] = {}
        for row in counters:
            key = self._registry.get_ref(row["policy"]).key
            pulls, explores, last = sums.get(key, (0, 0, 0.0))
            sums[key] = pulls + row["pulls"], explores + row["explores"], max(last, row["last"])
        for key, (pulls, explores, last) in sums.items():
            if not (pulls or explores or key in profile.policies):
                continue  # all that there is of it does not count any more
            state = profile.get_state(key)
            state.pulls, state.explores = pulls, explores
            state.last_updated = max(state.last_updated or 0.0, last)


def is_missing(profile: Profile, events: list[Event], *, is_state: bool = True) -> bool:
    """Whether retention has taken events that a profile does not hold, or an erasure some that it does.

    Args:
        profile: what the events are folded into.
        events: those after it.
        is_state: whether it holds what somebody folded; what retention left is all that there is.
    """
    if not events:
        return False
    return (events[0]["baseline"] or 0) > profile.seq or (is_state and (events[0]["parted"] or 0) > profile.seq)


def _read_start(row: Any, user_id: str, registry: PolicyRegistry) -> tuple[Profile | None, bool]:
    """What events are folded into, ``None`` for nothing; and whether that is a checkpoint, or what retention left."""
    profile = _read_checkpoint(row, user_id, registry)
    is_checkpoint = profile is not None
    if row["baseline"] is not None and (profile is None or profile.seq < row["baseline_version"]):
        profile = parse(row["baseline"])
        for key in profile.policies:
            profile.restart(key, registry.get_memory(key[0]).since)
        is_checkpoint = False
    return profile, is_checkpoint


def _read_checkpoint(row: Any, user_id: str, registry: PolicyRegistry) -> Profile | None:
    """The checkpoint's profile, where it can be trusted and what counts has not changed."""
    if row["checkpoint"] is None:
        return None
    try:
        profile = parse(row["checkpoint"])
    except DocumentError:
        return None
    matches = registry.has_matching_shapes(profile) and registry.has_matching_memories(profile)
    return profile if matches and profile.user_id == user_id and profile.seq == row["checkpoint_version"] else None
