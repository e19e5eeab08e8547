"""Import into a shared ledger: each user in a transaction of their own, beside processes that serve."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import InvalidRequestError, StorageUnavailableError
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.maintenance.export import ImportSource
from bandstand.store.maintenance.import_ import CLIENT, FaultFinder, ImportedUser, ImportResult, format_faults
from bandstand.store.maintenance.offline import Tick, no_tick
from bandstand.store.maintenance.shared_model import ADD_MARK, NOTE_IMPORT, count_own_pulls, render_import
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.decision_statements import REGISTER_USERS
from bandstand.store.postgres.deployment_log import IS_MARKED
from bandstand.store.postgres.ledger import SharedLedger, SharedStoreOptions
from bandstand.store.postgres.reward_statements import LOCK_USER

_TOMBSTONE = "SELECT coalesce(max(seq), -1) FROM tombstones WHERE user_hash = $1"
_ADD_SCHEMA = "INSERT INTO schemas (name, hash) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_FORGET_PULLS = "DELETE FROM pulls WHERE uid = $1"
_ADD_PULLS = "INSERT INTO pulls (uid, policy, pulls, explores, last) VALUES ($1, $2, $3, $4, 0)"


def import_shared_states(
    address: LedgerAddress,
    catalogue: Catalogue,
    sources: Iterable[ImportSource],
    *,
    skip_bad: bool = False,
    dry_run: bool = False,
    tick: Tick = no_tick,
    clock: Callable[[], float] = time.time,
) -> ImportResult:
    """Bring states into a shared ledger; each replaces what its user had, in every process's next decision for them.

    Args:
        address: the ledger's; its tables are made if they are not there.
        catalogue: the configured policies and schemas.
        sources: what to import; all are read and looked at before the first is brought in.
        skip_bad: leave out sources that are wrong instead of refusing them all.
        dry_run: bring nothing in; the result says what would happen.
        tick: called for each user.
        clock: seconds since the epoch, for the events.

    Raises:
        ConfigurationError: the ledger cannot be used as it is configured.
        InvalidRequestError: something is wrong with a source; nothing was imported.
        StorageUnavailableError: the ledger refused; whoever came before is imported, and may be imported again.
    """

    async def run() -> ImportResult:
        ledger = SharedLedger(address, catalogue, options=SharedStoreOptions(), clock=clock, observe=None)
        await ledger.open()
        try:
            return await _Importer(ledger, listing=dry_run).run(sources, skip_bad=skip_bad, dry_run=dry_run, tick=tick)
        finally:
            await ledger.close()

    return asyncio.run(run())


class _Importer:
    def __init__(self, ledger: SharedLedger, *, listing: bool) -> None:
        self._ledger = ledger
        self._listing = listing
        self._result = ImportResult()

    async def run(self, sources: Iterable[ImportSource], *, skip_bad: bool, dry_run: bool, tick: Tick) -> ImportResult:
        result, ledger = self._result, self._ledger
        hashes: dict[str, str] = dict(await ledger.readers.fetch("SELECT name, hash FROM schemas"))
        faults, sound = FaultFinder(ledger.policies.catalogue, hashes), list[tuple[str, Profile]]()
        for source in sources:
            fault, profile = faults.find(source), source.profile
            if fault or profile is None:
                result.skipped.append(f"{source.location}: {fault}")
                continue
            for name, digest in source.schemas.items():
                hashes.setdefault(name, digest)
            sound.append((source.location, profile))
        if result.skipped and not skip_bad:
            raise InvalidRequestError(format_faults(result.skipped))
        if sound and not dry_run:  # so that one configured later is compared with it
            for schema in hashes.items():
                await ledger.writers.fetch(_ADD_SCHEMA, *schema)
        for location, profile in sound:
            try:
                is_imported = await (self._would_import(profile) if dry_run else self._import(profile))
            except StorageUnavailableError as error:
                done = f"{result.users:,} of {len(sound):,} users are imported, and importing all again does no harm"
                raise StorageUnavailableError(f"{error.detail}; {done}") from error
            self._note(location, profile, is_imported=is_imported)
            tick()
        return result

    def _note(self, location: str, profile: Profile, *, is_imported: bool) -> None:
        result, catalogue = self._result, self._ledger.policies.catalogue
        if not is_imported:
            result.erased += 1
            return
        result.users += 1
        for policy, schema in profile.policies:
            if policy not in catalogue.policies or schema not in catalogue.schemas:
                what = f"{policy} over {schema}"
                result.unknown[what] = result.unknown.get(what, 0) + 1
        if self._listing:
            rewards = {policy: learned.reward_count for (policy, _), learned in profile.policies.items()}
            result.found.append(ImportedUser(profile.user_id, location, rewards))

    async def _would_import(self, profile: Profile) -> bool:
        tombstone = compute_tombstone(self._ledger.secret, profile.user_id)
        return bool(profile.seq > (await self._ledger.readers.fetch_one(_TOMBSTONE, tombstone))[0])

    async def _import(self, profile: Profile) -> bool:
        """Bring a user in; returns whether they were not erased after the state was taken."""
        ledger, now = self._ledger, self._ledger.clock()
        seq, tombstone = ledger.next_seq(now), compute_tombstone(ledger.secret, profile.user_id)

        async def write(channel: Channel, tries: int) -> bool:
            session = channel.session
            if tries and await session.fetchval(IS_MARKED, seq):
                return True  # it is done, and its answer was lost
            await session.execute(REGISTER_USERS, [profile.user_id])
            user = await session.fetchrow(LOCK_USER, profile.user_id)
            # An erasure that was first has left its tombstone; one that comes later waits for the lock.
            if user is None or profile.seq <= await session.fetchval(_TOMBSTONE, tombstone):
                raise _ErasedError
            uid, n = user["uid"], user["version"] + 1
            await session.execute(ADD_MARK, seq, uid, n, "import", now, CLIENT, render_import(profile, n))
            await session.execute(NOTE_IMPORT, uid, n)
            await session.execute(_FORGET_PULLS, uid)
            rows: list[tuple[Any, ...]] = await count_own_pulls(session, ledger.registry, uid, profile)
            await session.executemany(_ADD_PULLS, rows)
            return True

        try:
            return await ledger.writers.transact(write)
        except _ErasedError:
            return False


class _ErasedError(Exception):
    """The user was erased after the state was taken: whatever was begun is taken back."""
