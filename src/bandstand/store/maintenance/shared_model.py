"""A loop's whole model as one file, out of a shared ledger and back: see :mod:`bandstand.store.maintenance.model_file`.

Nothing is closed for it: what is put back are events under their users' locks, which every process folds before its
next decision for each; and the deployment's epoch grows, so that no decision from before counts any more.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.bandit.profile import Profile, StateKey
from bandstand.errors import InvalidRequestError
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.maintenance.export import ImportSource
from bandstand.store.maintenance.import_ import FaultFinder, format_faults
from bandstand.store.maintenance.model_file import ModelOwner, pack_model
from bandstand.store.postgres.connections import Channel, Session
from bandstand.store.postgres.decision_statements import REGISTER_USERS
from bandstand.store.postgres.deployment_log import IS_MARKED, RAISE_EPOCH
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.profiles import ProfileCache
from bandstand.store.postgres.user_admin import SharedUsers
from bandstand.store.tables.policies import PolicyRegistry

_PAGE = 1000
_TOMBSTONES = "SELECT user_hash, seq FROM tombstones WHERE user_hash = ANY ($1::bytea[])"
_LOCK_USERS = "SELECT uid, user_id, version FROM users ORDER BY uid FOR NO KEY UPDATE"
ADD_MARK = "INSERT INTO marks (seq, uid, n, kind, ts, client, document) VALUES ($1, $2, $3, $4, $5, $6, $7)"
NOTE_IMPORT = "UPDATE users SET version = $2 WHERE uid = $1"
_NOTE_RESET = "UPDATE users SET version = $2, reset_version = $2 WHERE uid = $1"
_COUNT_OWN = """SELECT policy, count(*), count(*) FILTER (WHERE exploring) FROM decisions AS d
    WHERE uid = $1 AND version >= (SELECT reset_version FROM users WHERE uid = $1) GROUP BY policy"""
_COUNT_ALL = """SELECT policy, sum(decisions)::bigint, sum(explores)::bigint FROM rollups_s
    WHERE hour = -1 AND policy > 0 GROUP BY policy"""
_ADD_PULLS = "INSERT INTO pulls (uid, policy, pulls, explores, last) VALUES ($1, $2, $3, $4, 0)"


class SharedModel:
    """Makes and takes such files, while any number of processes serve.

    Args:
        ledger: the loop's.
    """

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    async def export(self) -> bytes:
        """The file of now; each user is as they are when they are read."""
        ledger = self._ledger
        began, hashes = ledger.next_seq(ledger.clock()), await self._read_hashes()
        users = self._build_reader()
        lines: list[str] = []
        after: int | None = 0
        while after is not None:
            page = await SharedUsers(ledger).list_users("", after, _PAGE)
            for user_id in page.users:
                profile = (await users.load(user_id)).profile
                users.drop_all()
                schemas = {schema: hashes[schema] for _, schema in profile.policies if schema in hashes}
                # Who is erased from here on is known by a later number.
                document = profile.to_json() | {"ledger_seq": began, "reset_seq": 0, "schemas": schemas}
                lines.append(json.dumps(document, separators=(",", ":"), allow_nan=False))
            after = page.next
        return await asyncio.to_thread(pack_model, lines)

    async def replace(self, sources: list[ImportSource], *, now: float, client: str) -> None:
        """Put a file back, in one transaction: who is in it is as they were then, everybody else begins again.

        Args:
            sources: what :func:`bandstand.store.maintenance.model_file.read_model` read.
            now: seconds since the epoch, for the events.
            client: who causes them.

        Raises:
            InvalidRequestError: it is not of this loop, and nothing has changed.
            StorageFullError, StorageUnavailableError: the ledger refused.
        """
        ledger = self._ledger
        wanted = await self._check(sources)
        first = ledger.next_seq(now)

        async def replace(channel: Channel, tries: int) -> None:
            session = channel.session
            if tries and await session.fetchval(IS_MARKED, first):
                return  # it is done, and its answer was lost
            hashes = {compute_tombstone(ledger.secret, user_id): user_id for user_id in wanted}
            erased = {
                hashes[row["user_hash"]]
                for row in await session.fetch(_TOMBSTONES, list(hashes))
                if row["seq"] >= wanted[hashes[row["user_hash"]]].seq
            }
            kept = {user_id: profile for user_id, profile in wanted.items() if user_id not in erased}
            await session.execute(REGISTER_USERS, sorted(kept))
            users = await session.fetch(_LOCK_USERS)
            await self._write_events(channel, users, kept, now=now, client=client, first=first)
            await self._write_pulls(channel, users, kept)
            await session.execute(RAISE_EPOCH)

        await ledger.writers.transact(replace, is_long=True)
        ledger.users.drop_all()
        await ledger.reload()

    async def _check(self, sources: list[ImportSource]) -> Mapping[str, Profile]:
        """The states of a file, by user."""
        readers, faults = self._ledger.readers, FaultFinder(self._ledger.policies.catalogue, await self._read_hashes())
        known = frozenset(tuple(row) for row in await readers.fetch("SELECT name, schema FROM policies"))
        everybody = await readers.fetch("SELECT 1 FROM users WHERE user_id = $1", EVERYBODY)
        owner = ModelOwner(self._ledger.options.has_one_model, bool(everybody), known)
        for source in sources:
            owner.require_own(source)
        if found := [f"{source.location}: {fault}" for source in sources if (fault := faults.find(source))]:
            raise InvalidRequestError(format_faults(found))
        return {source.profile.user_id: source.profile for source in sources if source.profile is not None}

    async def _write_events(
        self,
        channel: Channel,
        users: list[Any],
        kept: Mapping[str, Profile],
        *,
        now: float,
        client: str,
        first: int,
    ) -> None:
        marks: list[tuple[Any, ...]] = []
        notes: dict[str, list[tuple[int, int]]] = {NOTE_IMPORT: [], _NOTE_RESET: []}
        for uid, user_id, version in users:
            n, seq = version + 1, self._ledger.next_seq(now) if marks else first
            if user_id in kept:
                marks.append((seq, uid, n, "import", now, client, render_import(kept[user_id], n)))
                notes[NOTE_IMPORT].append((uid, n))
            else:
                marks.append((seq, uid, n, "reset", now, client, None))
                notes[_NOTE_RESET].append((uid, n))
        await channel.session.executemany(ADD_MARK, marks)
        for statement, values in notes.items():
            await channel.session.executemany(statement, values)

    async def _write_pulls(self, channel: Channel, users: list[Any], kept: Mapping[str, Profile]) -> None:
        """Let each count what their state says, whatever decisions there are."""
        session, registry = channel.session, self._ledger.registry
        await session.execute("DELETE FROM pulls")
        for table in ("priors", "prior_members"):  # they are learned anew from who is there then
            await session.execute(f"DELETE FROM {table}")  # noqa: S608 (constants)
        has_one_model = self._ledger.options.has_one_model
        rows: list[tuple[int, int, int, int]] = []
        for uid, user_id, _ in users:
            profile = kept.get(user_id)
            if has_one_model and user_id == EVERYBODY:
                rows += _compute_pulls(registry, uid, profile, await session.fetch(_COUNT_ALL))
            elif profile is not None:  # of who was reset, no decision from before counts
                rows += await count_own_pulls(session, registry, uid, profile)
        await session.executemany(_ADD_PULLS, rows)

    async def _read_hashes(self) -> dict[str, str]:
        return dict(await self._ledger.readers.fetch("SELECT name, hash FROM schemas"))

    def _build_reader(self) -> ProfileCache:
        """Reads users one by one, past those in memory."""
        ledger = self._ledger
        return ProfileCache(
            ledger.readers,
            ledger.writers,
            ledger.registry,
            prepare=ledger.prepare_events,
            observe_seq=ledger.observe_seq,
            max_users=1,
            has_one_model=ledger.options.has_one_model,
        )


def render_import(profile: Profile, n: int) -> str:
    """The document of an event by which a user's state is another one from their event ``n`` on."""
    document = profile.to_json() | {"ledger_seq": n, "reset_seq": 0}
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


async def count_own_pulls(
    session: Session, registry: PolicyRegistry, uid: int, profile: Profile
) -> list[tuple[int, int, int, int]]:
    """Rows of ``pulls`` by which a user's decisions count as their state says, whatever decisions there are."""
    return _compute_pulls(registry, uid, profile, await session.fetch(_COUNT_OWN, uid))


def _compute_pulls(
    registry: PolicyRegistry, uid: int, profile: Profile | None, found: list[Any]
) -> list[tuple[int, int, int, int]]:
    ids: dict[StateKey, int] = {ref.key: number for number, ref in sorted(registry.get_refs().items())}
    counted = dict[StateKey, tuple[int, int]]()
    for policy, pulls, explores in found:
        key = registry.get_ref(policy).key
        before = counted.get(key, (0, 0))
        counted[key] = before[0] + pulls, before[1] + explores
    held, rows = {} if profile is None else profile.policies, list[tuple[int, int, int, int]]()
    for key in ids.keys() & (held.keys() | counted.keys()):
        pulls, explores = counted.get(key, (0, 0))
        state = held.get(key)
        wanted = (0, 0) if state is None else (state.pulls, state.explores)
        rows.append((uid, ids[key], wanted[0] - pulls, wanted[1] - explores))
    return rows
