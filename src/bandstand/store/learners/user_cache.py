"""Users in memory: read from the disk once, the least recently met evicted first, documents written later."""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import NamedTuple

from bandstand.bandit.profile import Profile
from bandstand.store.learners import erasure, event_times, replay
from bandstand.store.learners.documents import DocumentError, Documents
from bandstand.store.learners.open_decisions import OpenDecisions
from bandstand.store.outcomes import run
from bandstand.store.tables import decisions, generations
from bandstand.store.tables.policies import PolicyRegistry

_CHUNK = 32
"""Documents written in one go, between which others have their turn."""
_READ_CHUNK = 16
"""Users read in one go: some three milliseconds of a thread, of which all that they share is done once."""


class CachedUser:
    """A user in memory.

    Attributes:
        registered: the user's row is committed.
        pending: events handed over and not yet settled; such a user is never evicted.
        reset_seq: the newest reset handed over.
        changed: the profile is ahead of its document.
        has_tips: some generation was logged: a pick may come from it.
        enrolled: the experiment and the arm that the ledger has them in, as far as memory knows.
        open_decisions: what a reward in the legacy form may be linked to.
        stale: the sums are out of date against the ledger: the user is evicted at the first idle moment.
    """

    __slots__ = (
        "changed",
        "enrolled",
        "has_tips",
        "open_decisions",
        "pending",
        "profile",
        "registered",
        "reset_seq",
        "stale",
        "uid",
    )

    def __init__(self, profile: Profile, uid: int, *, registered: bool, changed: bool, has_tips: bool = False) -> None:
        self.profile = profile
        self.uid = uid
        self.registered = registered
        self.pending = 0
        self.reset_seq = profile.reset_seq
        self.changed = changed
        self.has_tips = has_tips
        self.enrolled: tuple[int, str] | None = None
        self.stale = False
        self.open_decisions = OpenDecisions(is_loaded=not registered)  # the ledger has none of somebody new


class _Facts(NamedTuple):
    """What the ledger says of a user and of the last event in their document.

    Attributes:
        is_trimmed: retention has put a baseline in the place of this event and later ones.
        has_event: it is an event of the user.
        has_lost_part: rewards were taken back since, or a user was erased from whom a shared model had learned.
        has_later: the user has had events since.
        has_tips: as in :class:`CachedUser`.
    """

    is_trimmed: int
    has_event: int
    has_lost_part: int
    has_later: int
    has_tips: int


_FACTS = f"""SELECT {replay.IS_TRIMMED}, {replay.HAS_EVENT},
    {replay.HAS_REVOCATION_SINCE} OR {erasure.HAS_PARTING_SINCE},
    {replay.HAS_LATER_EVENT}, {generations.HAS_GENERATED_TIPS}"""  # one question: each costs more than what it looks up


def read_user(
    connection: sqlite3.Connection, documents: Documents, registry: PolicyRegistry, secret: bytes, user_id: str
) -> CachedUser:
    """The user's checkpoint, brought up to the ledger; or the ledger's word alone where it cannot be trusted."""
    uid = decisions.find_uid(connection, user_id)
    document = _read_document(connection, documents, secret, user_id)
    if uid is None:
        if document is not None:
            documents.set_aside(user_id)  # nobody whom the ledger knows
        return CachedUser(Profile(user_id), 0, registered=False, changed=False)
    before = 0 if document is None else document.seq
    facts = _Facts(*connection.execute(_FACTS, (uid, before)).fetchone())
    if document is not None and not (facts.is_trimmed or (facts.has_event and registry.has_matching_shapes(document))):
        documents.set_aside(user_id)  # it is not what events of the ledger can have made
        document = None
    if document is not None and (
        facts.is_trimmed  # events that came after it are in the baseline alone
        or facts.has_lost_part  # something in it was taken back: what is left is exact where it is folded again
        or not registry.has_matching_memories(document)  # what counts has changed
        or event_times.is_dated_ahead(connection, uid, document)  # its sums had decayed to a time still to come
    ):
        document = None
    if document is None:
        profile = replay.rebuild_profile(connection, registry, uid, user_id)
        before = 0
    elif facts.has_later:
        profile = replay.replay_events(connection, registry, uid, document)
    else:
        profile = document
        replay.restart_memories(registry, profile)
    return CachedUser(profile, uid, registered=True, changed=profile.seq != before, has_tips=bool(facts.has_tips))


def _read_document(connection: sqlite3.Connection, documents: Documents, secret: bytes, user_id: str) -> Profile | None:
    """The user's document, if there is one that can be read and that no erasure has made void."""
    try:
        document = documents.read(user_id)
    except DocumentError:
        documents.set_aside(user_id)
        return None
    if document is not None and document.seq <= erasure.find_tombstone_seq(connection, secret, user_id):
        documents.delete(user_id)  # it came back from a backup; the erasure stands
        return None
    return document


def read_users(
    connection: sqlite3.Connection,
    documents: Documents,
    registry: PolicyRegistry,
    secret: bytes,
    user_ids: Collection[str],
) -> list[CachedUser]:
    """The same of several users, as of one moment of the ledger."""
    return [read_user(connection, documents, registry, secret, user_id) for user_id in user_ids]


class UserCache:
    """The users of one store that are in memory, and the thread that writes their documents.

    Args:
        documents: their checkpoints.
        read: brings users from the disk, in the order of their ids.
        max_users: how many stay in memory.
        on_error: called with the reason why a document could not be written.
    """

    def __init__(
        self,
        documents: Documents,
        read: Callable[[Collection[str]], Awaitable[list[CachedUser]]],
        *,
        max_users: int,
        on_error: Callable[[str], None],
    ) -> None:
        self._documents = documents
        self._read = read
        self._max_users = max_users
        self._on_error = on_error
        self._users: OrderedDict[str, CachedUser] = OrderedDict()  # least recently met first
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._requested: list[str] = []  # of these, who is read from the end of this turn of the loop on
        self._excluded: dict[str, asyncio.Future[None]] = {}
        self._over_limit = asyncio.Event()

    def open(self) -> None:
        """Begin the thread."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="documents")

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._users)

    def __getitem__(self, user_id: str) -> CachedUser:
        """A user who is known to be in memory."""
        return self._users[user_id]

    def is_current(self, user: CachedUser) -> bool:
        """Whether it is still this one who is in memory under the id."""
        return self._users.get(user.profile.user_id) is user

    def get(self, user_id: str) -> CachedUser | None:
        """The user if they are in memory now; they go last from here on."""
        user = self._users.get(user_id)
        if user is not None:
            self._users.move_to_end(user_id)
        return user

    async def get_or_load(self, user_id: str) -> CachedUser:
        """The user, read from the disk if need be, once for all who ask, and together with others of this turn."""
        while True:
            user = self.get(user_id)
            if user is not None:
                return user
            if (leaving := self._excluded.get(user_id)) is not None:
                await asyncio.wait([leaving])
            else:
                loading = self._loading.get(user_id) or self._request(user_id)
                await asyncio.wait([loading])
                loading.result()  # raises for every waiter what the load raised

    def _request(self, user_id: str) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if not self._requested:
            loop.call_soon(self._load_requested)
        self._requested.append(user_id)
        loading = self._loading[user_id] = loop.create_future()
        return loading

    def _load_requested(self) -> None:
        requested, self._requested = self._requested, []
        for start in range(0, len(requested), _READ_CHUNK):
            run(self._load(requested[start : start + _READ_CHUNK]))

    async def _load(self, user_ids: Sequence[str]) -> None:
        """Read users, in a task that nobody's leaving cancels."""
        try:
            users = await self._read(user_ids)
        except Exception as error:  # noqa: BLE001 (whoever asked has it)
            if len(user_ids) == 1:
                loading = self._loading.pop(user_ids[0])
                loading.set_exception(error)
                loading.exception()  # somebody has seen it, whether or not anybody waits
                return
            for user_id in user_ids:  # one of them may be at fault: each is read alone, and nobody waits for the others
                run(self._load([user_id]))
            return
        for user_id, user in zip(user_ids, users, strict=True):
            self._users[user_id] = user
            self._loading.pop(user_id).set_result(None)
        if len(self._users) > self._max_users:
            self._over_limit.set()

    def drop(self, user: CachedUser) -> None:
        """Evict the user: the next request reads them from the disk."""
        if self.is_current(user):
            del self._users[user.profile.user_id]

    def drop_if_stale(self, user: CachedUser) -> None:
        """Drop a user whose state is better read from the ledger, unless something of theirs is on its way there."""
        if user.stale and not user.pending:
            self.drop(user)

    @contextmanager
    def exclude(self, user: CachedUser) -> Iterator[None]:
        """Requests for the user wait meanwhile, and then find a new user."""
        user_id = user.profile.user_id
        returned = self._excluded[user_id] = asyncio.get_running_loop().create_future()
        del self._users[user_id]
        try:
            yield
        finally:
            del self._excluded[user_id]
            returned.set_result(None)

    def drop_all(self) -> None:
        """Evict everybody, each at their first idle moment, so that they are read from the ledger again."""
        for user in list(self._users.values()):
            user.stale = True
            self.drop_if_stale(user)

    async def delete_document(self, user_id: str) -> int:
        """Delete the user's document, and what was set aside of it; returns how many files went."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._documents.delete, user_id)

    async def run_checkpoints(self, seconds: float) -> None:
        """Write changed documents every ``seconds``, and let users go when there are too many."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over_limit.wait()
            if self._over_limit.is_set():
                self._over_limit.clear()
            else:
                await self.write_changed()
            await self._evict_oldest()

    async def write_changed(self) -> None:
        """Write the documents of all users that changed, a few at a time."""
        changed = [user for user in self._users.values() if user.changed]
        for start in range(0, len(changed), _CHUNK):
            await self._write(changed[start : start + _CHUNK])

    async def close(self) -> None:
        """End the thread, after what it is about."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _evict_oldest(self) -> None:
        """Release the users least recently met, to a little slack below the limit."""
        surplus = len(self._users) - self._max_users * 99 // 100
        oldest = [user for user, _ in zip(self._users.values(), range(surplus), strict=False)]
        for start in range(0, len(oldest), _CHUNK):
            chunk = oldest[start : start + _CHUNK]
            await self._write([user for user in chunk if user.changed])
            for user in chunk:
                if not user.pending:
                    self.drop(user)  # what its document lacks is replayed when it comes back

    async def _write(self, users: list[CachedUser]) -> None:
        # Not erased meanwhile; and what the ledger knows better is not to be found in a document.
        users = [user for user in users if self.is_current(user) and not user.stale]
        snapshots = []
        for user in users:
            snapshots.append(user.profile.copy())
            user.changed = False
        unwritten = await asyncio.get_running_loop().run_in_executor(self._thread, self._write_all, snapshots)
        for user in users:
            if user.profile.user_id in unwritten:
                user.changed = True

    def _write_all(self, snapshots: list[Profile]) -> set[str]:
        unwritten: set[str] = set()
        for profile in snapshots:
            try:
                self._documents.write(profile)
            except OSError as error:
                self._on_error(f"checkpoint: {error.strerror}")
                unwritten.add(profile.user_id)
        return unwritten
