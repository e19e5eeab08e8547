"""The embedded store: a SQLite ledger for truth, JSON documents as checkpoints, warm profiles in memory.

All methods run on one event loop. What must be atomic (check, number, hand over) happens between two awaits; what
touches the disk happens on the writer's thread, on the readers' threads, or on the one thread that writes documents.
State in memory moves only when the writer reports a commit.
"""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.errors import (
    BandstandError,
    ConfigurationError,
    StorageFullError,
    StorageUnavailableError,
    UnknownDecisionError,
)
from bandstand.bandit.profile import Profile
from bandstand.store import (
    erasure,
    generations,
    lessons,
    loop,
    promotions,
    reading,
    replay,
    retention,
    revocations,
    shadows,
    undo,
)
from bandstand.store.documents import DocumentError, Documents
from bandstand.store.events import (
    Decision,
    Erasure,
    Lessons,
    PolicyRef,
    PolicyTotals,
    Reward,
    Rewarded,
    Sequence,
    Status,
    UserPage,
    seq_at,
)
from bandstand.store.generations import GENERATION, PROMPT, LoggedGeneration, PromptIds, PromptTotals
from bandstand.store.judgements import RewardPendingError
from bandstand.store.ledger import (
    DECISION,
    DECISION_ID,
    ENROLMENT,
    IDEMPOTENCY,
    LEGACY_LINK_SECONDS,
    LEGACY_REWARD,
    LINEAGE,
    MARK,
    REWARD,
    USER,
    Row,
    connect,
    create,
    decision_row,
    last_seq,
    legacy_reward_row,
    reward_row,
)
from bandstand.store.loop import LoopSums
from bandstand.store.ownership import Ownership
from bandstand.store.promotions import Begun, Promotion
from bandstand.store.registry import Registry
from bandstand.store.revocations import Counted
from bandstand.store.shadows import SHADOW, Shadow, ShadowSums
from bandstand.store.undo import Selected, Selection, Undone
from bandstand.store.wal import WriteAheadLog, truncated
from bandstand.store.writer import CommitObserver, Operation, Sums, Writer, settle, translated

P = ParamSpec("P")
T = TypeVar("T")
_Future = asyncio.Future[object]

_RECENT_DECISIONS = 50_000
"""Decisions kept in memory for the reward that is likely to come; others are read from the ledger."""
_CHECKPOINT_CHUNK = 32
_SUBTRACTED = 1_000
"""Rewards taken back at once that are subtracted in memory; for more, their users are read from the ledger again."""
_TRIES = 3
"""How often what is to be taken back is looked up anew because another took some of it meanwhile."""
_TRIM_INTERVAL = 3600.0
_LONGEST_GENERATION = 3600.0
"""Seconds; `GENERATE_DEADLINE_S` allows no more."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How an embedded store behaves; ``settings`` documents each.

    Attributes:
        sync: rewards, resets, erasures and turns are synced to disk before they are acknowledged.
        max_warm_users: profiles kept in memory.
        max_pending: events that may wait for a commit.
        checkpoint_seconds: between two rounds of writing changed documents.
        retention_days: decisions older than this are trimmed; 0 keeps all.
        close_seconds: how long closing may spend on checkpoints (what is left is replayed at the next start).
    """

    sync: bool = True
    max_warm_users: int = 100_000
    max_pending: int = 10_000
    checkpoint_seconds: float = 30.0
    retention_days: float = 90.0
    close_seconds: float = 10.0


class Warm:
    """A user in memory.

    Attributes:
        registered: the user's row is committed.
        pending: events handed over and not yet settled; such a user is never evicted.
        reset_seq: the newest reset handed over.
        changed: the profile is ahead of its document.
        has_tips: some generation was logged: a pick may come from it.
        enrolled: the experiment and the arm that the ledger has them in, as far as memory knows.
        stale: the ledger knows better what is left of the sums: the user is let go at the first idle moment.
    """

    __slots__ = ("changed", "enrolled", "has_tips", "pending", "profile", "registered", "reset_seq", "stale", "uid")

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


class TakingBack(NamedTuple):
    """Rows that take rewards back, and what is done when they are committed or refused."""

    rows: list[tuple[str, Row]]
    committed: Callable[[], None]
    refused: Callable[[], None]


class CollidedError(StorageUnavailableError):
    """Another event stands where this one wanted to: under its id, for its decision or under its Idempotency-Key."""


class EmbeddedStore:
    """One process's state under ``state_dir``.

    Args:
        state_dir: where everything is kept; made if absent.
        catalogue: the configured policies and schemas.
        clock: seconds since the epoch.
        observe: told of each commit.
    """

    def __init__(
        self,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        options: StoreOptions | None = None,
        clock: Callable[[], float] = time.time,
        observe: CommitObserver | None = None,
    ) -> None:
        self._dir = state_dir
        self._catalogue = catalogue
        self._options = options or StoreOptions()
        self._clock = clock
        self._observe = observe
        self._documents = Documents(state_dir)
        self._registry = Registry(catalogue)
        self._prompts = PromptIds()
        self._users: OrderedDict[str, Warm] = OrderedDict()  # least recently used first
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._erasing: dict[str, _Future] = {}
        self._erased: dict[bytes, int] = {}  # by tombstone: who was erased while a generation may have been under way
        self._recent: OrderedDict[str, Decision] = OrderedDict()
        self._flying: dict[int, _Future] = {}  # by event number: handed over and not yet settled
        self._keyed: dict[tuple[str, str], Reward] = {}  # by Idempotency-Key, while in flight
        self._revoking: set[int] = set()  # event numbers of rewards that are being taken back
        self._horizon = 0  # the newest event that retention has taken
        self._state: str = "closed"
        self._last_error: str | None = None
        self.secret = b""

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Own the directory, open the ledger and start the writer.

        Raises:
            ConfigurationError: the directory is another's, cannot be written, or does not fit the configuration.
        """
        self._ownership = Ownership(self._dir)
        try:
            self._connection = self._open_ledger()
        except BaseException:
            self._ownership.release()
            raise
        self._loop = asyncio.get_running_loop()
        self._reader = reading.Reader(self._dir / "ledger.db")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="ledger-reader")
        self._document_thread = ThreadPoolExecutor(1, thread_name_prefix="documents")
        self._writer = Writer(
            self._connection,
            sync=self._options.sync,
            max_pending=self._options.max_pending,
            observe=self._observe,
        )
        self._log = WriteAheadLog(self._dir / "ledger.db", self._writer)
        self._wake = asyncio.Event()
        self._upkeep = [
            asyncio.create_task(self._keep_checkpoints()),
            asyncio.create_task(self._log.keep()),
            asyncio.create_task(self._keep_retention()),
        ]
        self._state = "ready"

    def _open_ledger(self) -> sqlite3.Connection:
        path = self._dir / "ledger.db"
        try:
            connection = connect(path)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            full = isinstance(translated(error), StorageFullError)
            way_out = "make room on the disk" if full else "restore a backup, or name another STATE_DIR"
            message = f"{path} cannot be opened: {error}; {way_out}"
            raise ConfigurationError(message) from error
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        create(connection)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # done beside the writer: see the WriteAheadLog
        self._registry.load(connection)
        self._registry.require_unchanged(connection)
        self._registry.register(connection)
        self._prompts.load(connection)
        self.secret = bytes(connection.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])
        self._sequence = Sequence(last_seq(connection))
        self._next_uid = connection.execute("SELECT coalesce(max(uid), 0) + 1 FROM users").fetchone()[0]

    async def close(self) -> None:
        """Commit what was accepted, write the checkpoints, let the directory go."""
        if self._state == "closed":
            return
        self._state = "draining"
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        await self._writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.close_seconds):
                await self._checkpoint()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._document_thread.shutdown)
        self._reader.close()
        with suppress(sqlite3.Error):
            truncated(self._connection)
        self._connection.close()
        self._ownership.release()
        self._state = "closed"

    def status(self) -> Status:
        """How the store is doing now."""
        state = {"ready": "ready", "draining": "draining"}.get(self._state, "failed")
        return Status(
            state=state,  # type: ignore[arg-type]  # the three literals above
            durability="full" if self._options.sync else "process",
            warm_users=len(self._users),
            pending=len(self._flying),
            quarantined=self._documents.quarantined,
            last_error=self._last_error,
        )

    # ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def warm(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now."""
        user = self._users.get(user_id)
        if user is None:
            return None
        self._users.move_to_end(user_id)
        return user.profile

    async def profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return (await self._user(user_id)).profile

    async def _user(self, user_id: str) -> Warm:
        while True:
            user = self._users.get(user_id)
            if user is not None:
                self._users.move_to_end(user_id)
                return user
            if (erasing := self._erasing.get(user_id)) is not None:
                await asyncio.wait([erasing])
            elif (loading := self._loading.get(user_id)) is not None:
                await asyncio.wait([loading])
                loading.result()  # raises for every waiter what the load raised
            else:
                await self._load(user_id)

    async def _load(self, user_id: str) -> None:
        loading: asyncio.Future[None] = self._loop.create_future()
        self._loading[user_id] = loading
        try:
            self._users[user_id] = await self._read(self._read_user, user_id)
        except Exception as error:
            loading.set_exception(error)
            loading.exception()  # somebody has seen it, whether or not anybody waited
            raise
        finally:
            del self._loading[user_id]
            if not loading.done():
                loading.set_result(None)  # loaded; or given up by the one who asked, and the next one asks again
        if len(self._users) > self._options.max_warm_users:
            self._wake.set()

    def _read_user(self, connection: sqlite3.Connection, user_id: str) -> Warm:
        """The user's checkpoint, brought up to the ledger; or the ledger's word alone where it cannot be trusted."""
        uid = reading.uid_of(connection, user_id)
        try:
            document = self._documents.read(user_id)
            if document is not None and document.seq <= erasure.buried(connection, self.secret, user_id):
                self._documents.delete(user_id)  # it came back from a backup; the erasure stands
                document = None
            trimmed = None if uid is None else replay.baseline(connection, uid)
            if document is not None and trimmed is not None and document.seq <= trimmed.seq:
                document = trimmed  # retention has taken events that came after the document
            elif document is not None and (uid is None or not replay.holds(connection, uid, document.seq)):
                message = "knows events that the ledger does not"
                raise DocumentError(message)  # noqa: TRY301 (one way for all that cannot be trusted)
        except DocumentError:
            self._documents.set_aside(user_id)
            document = None
        if document is not None and not self._registry.decays(document):
            document = None  # a half-life has changed: the ledger's events are folded again, under the new one
        if document is not None and uid is not None and replay.holds_less(connection, uid, document.seq):
            document = None  # something in it was taken back: what is left is exact where it is folded again
        if uid is None:
            return Warm(Profile(user_id), 0, registered=False, changed=False)
        before = 0 if document is None else document.seq
        if document is None:
            profile = replay.rebuilt(connection, self._registry, uid, user_id)
        else:
            profile = replay.caught_up(connection, self._registry, uid, document)
        has_tips = generations.any_tips(connection, uid)
        return Warm(profile, uid, registered=True, changed=profile.seq != before, has_tips=has_tips)

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""
        return self._sequence.next(ts)

    async def decide(self, decision: Decision) -> Decision:
        """Log a decision and count it; see :class:`bandstand.store.base.Store`.

        The user must be warm, and no await may lie between :meth:`next_seq` and this call.
        """
        try:
            if decision.own_id and (earlier := self._recent.get(decision.decision_id)) is not None:
                await self._settled(earlier.seq)
                return earlier
            future = self._hand_over_decision(decision)
            await (asyncio.shield(future) if decision.own_id else future)  # others may wait for it too
        except CollidedError:
            standing = await self.receipt(decision.decision_id)  # memory had forgotten it, the ledger had not
            if standing is None:
                raise
            return standing
        return decision

    def _hand_over_decision(self, decision: Decision) -> _Future:
        user = self._users[decision.user_id]
        decision.uid = self._uid(user)
        policy_id = self._registry.id(decision.policy)
        rows: list[tuple[str, Row]] = [(DECISION, decision_row(decision, policy_id))]
        if decision.own_id:
            rows.append((DECISION_ID, (decision.decision_id, decision.seq)))
        if user.has_tips:
            rows.append((LINEAGE, (decision.seq, decision.uid, decision.tip_id)))
        if decision.experiment and user.enrolled != (enrolment := (decision.experiment, decision.policy.name)):
            rows.append((ENROLMENT, (decision.uid, *enrolment)))
            user.enrolled = enrolment
        tally = (int(decision.ts // 3600), policy_id, 1, int(decision.exploring), 0, 0.0)
        part, amounts = loop.drawn(decision)
        sums = tuple((loop.DRAWN, (day, policy_id, part), amounts) for day in (loop.EVER, loop.day_of(decision.seq)))

        def committed() -> None:
            user.profile.decided(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
            decision.body, decision.numbers = b"", None  # the ledger has them; a reward needs only x

        def refused() -> None:
            self._recent.pop(decision.decision_id, None)
            user.enrolled = None

        future = self._hand_over(user, decision.seq, rows, committed, refused, durable=False, tally=tally, sums=sums)
        self._remember(decision)
        return future

    async def decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, for its reward."""
        decision = self._recent.get(decision_id)
        if decision is None:
            found = await self._read(reading.find_decision, self._registry, decision_id)
            if found is None:
                return None
            decision = self._recent.get(decision_id)  # somebody else may have been quicker
            if decision is None:
                found.x = lessons.picked_features(self._registry, found.policy, found.body, found.pick)
                found.body, found.numbers = b"", None
                decision = found
                self._remember(decision)
        await self._settled(decision.seq)
        if decision.also is None and self._registry.shadows():
            decision.also = await self._read(lessons.of_decision, self._registry, decision.seq)
        return decision

    async def receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""
        if (recent := self._recent.get(decision_id)) is not None:
            await self._settled(recent.seq)
        return await self._read(reading.find_decision, self._registry, decision_id)

    async def history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        return await self._read(reading.history, self._registry, user_id, limit)

    def _remember(self, decision: Decision) -> None:
        self._recent[decision.decision_id] = decision
        while len(self._recent) > _RECENT_DECISIONS:
            decision_id, oldest = self._recent.popitem(last=False)
            reward_seq = 0 if oldest.reward is None else oldest.reward.seq
            in_flight = not self._flying.keys().isdisjoint((oldest.seq, reward_seq, oldest.held))
            if in_flight:
                self._recent[decision_id] = oldest
                break

    # ── rewards ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def reward(self, reward: Reward) -> Rewarded:
        """Log a reward and teach it, once; see :class:`bandstand.store.base.Store`."""
        try:
            return await self._reward(reward)
        except CollidedError:  # its key or its decision was spent between the look-up and the commit
            return await self._reward(reward)

    async def _reward(self, reward: Reward) -> Rewarded:
        if (known := await self._reward_by_key(reward)) is not None:
            return Rewarded(known, "key")
        while True:
            user = await self._user(reward.user_id)
            decision = None if reward.decision_id is None else await self.decision(reward.decision_id)
            if self._users.get(reward.user_id) is user and (
                decision is None or self._recent.get(decision.decision_id) is decision
            ):
                break  # nothing moved while we waited: from here to the hand-over there is no await
        if reward.idempotency is not None and (flying := self._keyed.get(reward.idempotency)) is not None:
            await self._settled(flying.seq)
            return Rewarded(flying, "key")
        if reward.decision_id is not None:
            if decision is None or decision.uid != user.uid or self._past(decision):
                message = "no such decision"
                raise UnknownDecisionError(message)
            if decision.reward is not None:
                standing = decision.reward
                await self._settled(standing.seq)
                return Rewarded(standing, "decision")
            if decision.held:
                raise RewardPendingError("a turn that is still being judged holds this decision")
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.reset_seq:
                reward.applied, reward.reason = False, "reset"
        await asyncio.shield(self._hand_over_reward(user, reward, decision))  # others may wait for it too
        return Rewarded(reward, "new")

    def _past(self, decision: Decision) -> bool:
        """Whether retention takes the decision, or has taken it, while memory still knows it."""
        return decision.seq <= self._horizon and decision.reward is None

    def _hand_over_reward(self, user: Warm, reward: Reward, decision: Decision | None) -> _Future:
        reward.seq = self._sequence.next(reward.ts)
        uid = self._uid(user)
        policy_id = self._registry.id(reward.policy)
        reward.also = self._beside(reward.policy, reward.features, decision)
        if decision is not None:
            rows: list[tuple[str, Row]] = [(REWARD, reward_row(reward, uid, policy_id))]
            decision.reward = reward
        else:
            linkable_after = seq_at(reward.ts - LEGACY_LINK_SECONDS)
            rows = [(LEGACY_REWARD, legacy_reward_row(reward, uid, policy_id, linkable_after))]
        key = reward.idempotency
        if key is not None:
            rows.append((IDEMPOTENCY, (*key, reward.body_hash, reward.seq, reward.ts)))
            self._keyed[key] = reward

        def committed() -> None:
            self._learn(user, reward)
            if key is not None:
                self._keyed.pop(key, None)

        def refused() -> None:
            if decision is not None:
                decision.reward = None
                self._recent.pop(decision.decision_id, None)  # if it collided, memory was wrong about it
            if key is not None:
                self._keyed.pop(key, None)

        tally = (int(reward.ts // 3600), policy_id, 0, 0, 1, reward.value)
        return self._hand_over(user, reward.seq, rows, committed, refused, durable=True, tally=tally)

    def _learn(self, user: Warm, reward: Reward) -> None:
        """Fold a committed reward in, if it teaches."""
        if reward.applied and reward.x is not None:
            seq, ts, value, weight = reward.seq, reward.ts, reward.value, reward.weight
            for ref, x in ((reward.policy, reward.x), *reward.also):
                user.profile.rewarded(seq, ref.key, ts, x, value, weight, ref.half_life)

    def _beside(self, policy: PolicyRef, features: bytes | None, decision: Decision | None) -> Lessons:
        """The policies in the shadow that a reward of ``policy``, new now, teaches too."""
        if features is not None:
            return lessons.beside(self._registry, policy, lessons.NEWEST, features, None, None)
        return () if decision is None else decision.also or ()

    async def _reward_by_key(self, reward: Reward) -> Reward | None:
        key = reward.idempotency
        if key is None:
            return None
        flying = self._keyed.get(key)
        if flying is None:
            return await self._read(reading.reward_by_key, self._registry, *key)
        await self._settled(flying.seq)
        return flying

    async def selected(self, selection: Selection) -> Selected:
        """The rewards that an operator means, and what of them can be taken back."""
        return await self._read(undo.selected, self._registry, selection)

    async def revoked_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return await self._read(undo.any_since, seq)

    async def revoke(
        self, rewards: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[Counted]:
        """Take rewards back out of sums and counters; see :class:`bandstand.store.base.Store`."""
        for _ in range(_TRIES - 1):
            try:
                return await self._revoke(rewards, cause=cause, client=client, selection=selection)
            except CollidedError:
                pass
        return await self._revoke(rewards, cause=cause, client=client, selection=selection)

    async def undone(self, before: int, limit: int) -> list[Undone]:
        """Records of undos, the newest first, from before the event ``before``."""
        return await self._read(undo.done, before, limit)

    async def _revoke(
        self, rewards: Collection[int], *, cause: str, client: str, selection: Selection | None
    ) -> list[Counted]:
        found = await self._read(revocations.counted, self._registry, rewards)
        users: dict[str, Warm] = {}
        try:
            for each in found:
                if each.user_id not in users:
                    user = users[each.user_id] = await self._user(each.user_id)
                    user.pending += 1  # it must still be here when all the others are
            counted = [each for each in found if self._holds(users[each.user_id], each)]
            if counted:
                ts = self._clock()
                taking_back = self._taking_back(counted, cause=cause, client=client, ts=ts)
                user, seq = users[counted[0].user_id], self._sequence.next(ts)
                if selection is not None:
                    taking_back.rows.append((MARK, undo.record(seq, selection, counted, client=client, ts=ts)))
                await asyncio.shield(self._hand_over(user, seq, *taking_back, durable=True))
        finally:
            for user in users.values():
                user.pending -= 1
                self._let_go(user)
        return counted

    def _let_go(self, user: Warm) -> None:
        """Drop a user whose state is better read from the ledger, unless something of theirs is on its way there."""
        if user.stale and not user.pending and self._users.get(user.profile.user_id) is user:
            del self._users[user.profile.user_id]

    def _holds(self, user: Warm, reward: Counted) -> bool:
        """Whether a reward found in the ledger is still in the sums, whatever is in flight."""
        gone = reward.seq <= max(user.reset_seq, self._horizon) or reward.seq in self._revoking
        return not gone and user.uid == reward.uid and self._users.get(reward.user_id) is user

    def _taking_back(self, counted: list[Counted], *, cause: str, client: str, ts: float) -> "TakingBack":
        """The rows that take rewards of users in memory back, and what is done when they are committed or refused."""
        numbered = [(self._sequence.next(ts), each) for each in counted]
        users = [self._users[each.user_id] for each in counted]
        rows = [row for seq, each in numbered for row in each.rows(seq, cause=cause, client=client, ts=ts)]
        self._revoking.update(each.seq for each in counted)

        def settled() -> None:
            self._revoking.difference_update(each.seq for each in counted)

        def committed() -> None:
            settled()
            if len(counted) > _SUBTRACTED:
                for user in users:
                    # Whoever is not idle but for this is subtracted from all the same, until they are.
                    user.stale = True
                    if user.pending == 1 and self._users.get(user.profile.user_id) is user:
                        del self._users[user.profile.user_id]
            for (seq, each), user in zip(numbered, users, strict=True):
                if self._users.get(each.user_id) is user:
                    exact = each.take_back(seq, user.profile)
                    user.stale = user.stale or not exact
                    user.changed = True

        return TakingBack(rows, committed, settled)

    # ── generations ───────────────────────────────────────────────────────────────────────────────────────────────

    async def generated(self, generation: LoggedGeneration) -> bool:
        """Log a generation; see :class:`bandstand.store.base.Store`."""
        user = await self._user(generation.user_id)
        if self._erased and self._erased.get(self._tombstone(generation.user_id), 0) > generation.seq:
            return False
        prompt = self._prompts.row(generation.prompt)
        row = generations.generation_row(generation, self._uid(user), prompt[0])
        rows: list[tuple[str, Row]] = [(PROMPT, prompt), (GENERATION, row)]

        def committed() -> None:
            user.has_tips = True

        await self._hand_over(user, generation.seq, rows, committed, _nothing, durable=False)
        return True

    async def prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""
        return await self._read(generations.prompt_totals)

    # ── operators ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""
        user = await self._user(user_id)
        if not user.registered and not user.pending:
            return
        ts = self._clock()
        seq = user.reset_seq = self._sequence.next(ts)
        row = (seq, self._uid(user), "reset", ts, client, None)

        def committed() -> None:
            user.profile.reset(seq)
            user.reset_seq = max(user.reset_seq, seq)

        def refused() -> None:
            if user.reset_seq == seq:
                user.reset_seq = user.profile.reset_seq

        await self._hand_over(user, seq, [(MARK, row)], committed, refused, durable=True)

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""
        user = await self._user(user_id)
        erasing: _Future = self._loop.create_future()
        self._erasing[user_id] = erasing
        del self._users[user_id]  # requests from here on wait, and then meet a stranger
        for decision_id in [key for key, decision in self._recent.items() if decision.user_id == user_id]:
            del self._recent[decision_id]
        try:
            # Files first: a crash in between leaves a user whose document is made again from the ledger, not a document
            # of nobody.
            documents = await self._loop.run_in_executor(self._document_thread, self._documents.delete, user_id)
            ts = self._clock()
            seq, digest = self._sequence.next(ts), self._tombstone(user_id)
            erase = partial(erasure.erase, uid=user.uid, tombstone=digest, seq=seq, ts=ts, client=client)
            counts = await self._writer.call(erase)
            under_way = seq_at(ts - _LONGEST_GENERATION)
            self._erased = {key: at for key, at in self._erased.items() if at > under_way} | {digest: seq}
            log_emptied = await self._log.empty()
        finally:
            del self._erasing[user_id]
            erasing.set_result(None)
        return replace(counts, documents=documents, log_emptied=log_emptied)

    def _tombstone(self, user_id: str) -> bytes:
        return erasure.tombstone_hash(self.secret, user_id)

    async def users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        return await self._read(reading.users, prefix, after, limit)

    async def user_count(self) -> int:
        """How many users the ledger knows."""
        return await self._read(reading.user_count)

    async def totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return await self._read(reading.totals)

    async def loop(self, days: int) -> LoopSums:
        """Sums that tell whether the learning loop is sound, by policy, and by day for the newest ``days``."""
        return await self._read(loop.read, loop.day_of(self._sequence.last) - days + 1)

    # ── promotions and experiments ────────────────────────────────────────────────────────────────────────────────

    async def promote(self, promotion: Promotion) -> None:
        """Write down a change of the active policy."""
        seq = self._sequence.next(promotion.ts)
        await self._writer.call(partial(promotions.log, seq=seq, promotion=promotion))

    async def promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return await self._read(promotions.read)

    async def experiment(self, definition: str | None) -> Begun | None:
        """Say which experiment runs from now on, if any; see :class:`bandstand.store.base.Store`."""
        begun = await self._read(promotions.under_way, definition)
        if begun is None and (definition is not None or await self._read(promotions.is_any_under_way)):
            ts = self._clock()
            seq = self._sequence.next(ts)
            await self._writer.call(partial(promotions.begin, seq=seq, ts=ts, definition=definition))
            begun = None if definition is None else Begun(seq, ts)
        return begun

    async def enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return await self._read(promotions.enrolled, experiment)

    # ── shadows ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def shadow(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on; see :class:`bandstand.store.base.Store`."""
        if list(policies) != self._registry.shadows():
            ts = self._clock()
            seq = self._sequence.next(ts)
            policy_ids = [self._registry.id(ref) for ref in policies]
            await self._writer.call(partial(shadows.begin, seq=seq, ts=ts, policy_ids=policy_ids))
            self._registry.shadow(seq, policies)

    def shadowed(self, decision: Decision, made: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done; see :class:`bandstand.store.base.Store`."""
        rows = [(SHADOW, each.row(decision.seq, self._registry.id(each.policy))) for each in made]

        def done(_: object, error: BaseException | None) -> None:
            if error is not None:
                self._last_error = str(error)

        self._writer.submit(Operation(rows, done, durable=False))

    async def shadows_of(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return await self._read(shadows.of_decision, self._registry.refs(), decision.seq)

    async def shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """What came of it, of every definition of a policy that was ever in the shadow."""
        return await self._read(shadows.sums, self._registry.refs())

    # ── the ways to the threads ───────────────────────────────────────────────────────────────────────────────────

    async def _read(self, question: Callable[..., T], *args: Any) -> T:
        try:
            return await self._loop.run_in_executor(self._readers, self._reader.ask, question, *args)
        except sqlite3.Error as error:
            raise translated(error) from error
        except RuntimeError as error:  # the executor has been shut down
            message = "the service is shutting down"
            raise StorageUnavailableError(message) from error

    def _uid(self, user: Warm) -> int:
        if not user.uid:
            user.uid = self._next_uid
            self._next_uid += 1
        return user.uid

    def _hand_over(
        self,
        user: Warm,
        seq: int,
        rows: list[tuple[str, Row]],
        committed: Callable[[], None],
        refused: Callable[[], None],
        *,
        durable: bool,
        tally: tuple[int, int, int, int, int, float] | None = None,
        sums: Sums = (),
    ) -> _Future:
        """Give rows of one event to the writer; after the commit fold them in, and settle the returned future."""
        if not user.registered:
            rows.append((USER, (user.uid, user.profile.user_id)))
        future: _Future = self._loop.create_future()
        settle_future = settle(future)

        def done(result: object, error: BaseException | None) -> None:
            user.pending -= 1
            del self._flying[seq]
            if isinstance(error, sqlite3.IntegrityError):
                error = CollidedError("the event collided with another; try again")
            try:
                if error is None:
                    user.registered = True
                    committed()
                    user.changed = user.profile.seq > 0  # a generation alone moves nothing that a document holds
                else:
                    self._last_error = str(error)
                    refused()
            finally:
                self._let_go(user)
                settle_future(result, error)

        try:
            self._writer.submit(Operation(rows, done, durable=durable, tally=tally, sums=sums))
        except BaseException:
            refused()
            raise
        user.pending += 1
        self._flying[seq] = future
        return future

    async def _settled(self, seq: int) -> None:
        """Wait for the commit of an event in flight; raises what its commit raised."""
        if (flying := self._flying.get(seq)) is not None:
            await asyncio.wait([flying])
            flying.result()

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_checkpoints(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.checkpoint_seconds):
                    await self._wake.wait()
            if self._wake.is_set():
                self._wake.clear()
            else:
                await self._checkpoint()
            await self._evict()

    async def _checkpoint(self) -> None:
        """Write the documents of all users that changed, a few at a time."""
        changed = [user for user in self._users.values() if user.changed]
        for start in range(0, len(changed), _CHECKPOINT_CHUNK):
            await self._write_documents(changed[start : start + _CHECKPOINT_CHUNK])

    async def _evict(self) -> None:
        """Let go of the users least recently met, beyond a little slack below the limit."""
        surplus = len(self._users) - self._options.max_warm_users * 99 // 100
        oldest = list(zip(self._users.items(), range(surplus), strict=False))
        for start in range(0, len(oldest), _CHECKPOINT_CHUNK):
            chunk = [entry for entry, _ in oldest[start : start + _CHECKPOINT_CHUNK]]
            await self._write_documents([user for _, user in chunk if user.changed])
            for user_id, user in chunk:
                if not user.pending and self._users.get(user_id) is user:
                    del self._users[user_id]  # what its document lacks is replayed when it comes back

    async def _write_documents(self, users: list[Warm]) -> None:
        # Not erased meanwhile; and what the ledger knows better is not to be found in a document.
        users = [user for user in users if self._users.get(user.profile.user_id) is user and not user.stale]
        snapshots = []
        for user in users:
            snapshots.append(user.profile.copy())
            user.changed = False
        failed = await self._loop.run_in_executor(self._document_thread, self._write_all, snapshots)
        for user in users:
            if user.profile.user_id in failed:
                user.changed = True

    def _write_all(self, snapshots: list[Profile]) -> set[str]:
        failed: set[str] = set()
        for profile in snapshots:
            try:
                self._documents.write(profile)
            except OSError as error:
                self._last_error = f"checkpoint: {error.strerror}"
                failed.add(profile.user_id)
        return failed

    async def _keep_retention(self) -> None:
        while True:
            with suppress(sqlite3.Error, BandstandError):
                await self.trim()
            await asyncio.sleep(_TRIM_INTERVAL)

    async def trim(self) -> int:
        """Apply retention now: replace decisions past their days by baselines; returns how many users were touched."""
        now = self._clock()
        await self._writer.call(partial(retention.forget_keys, now=now))
        if not self._options.retention_days:
            return 0
        cutoff = self._horizon = seq_at(now - self._options.retention_days * 86_400)
        while await self._writer.call(partial(generations.expire, cutoff=cutoff)):
            pass
        uids = await self._read(retention.overdue_users, cutoff)
        for uid, user_id in uids:
            state = await self._read(replay.rebuilt, self._registry, uid, user_id, cutoff)
            seq = self._sequence.next(self._clock())
            await self._writer.call(partial(retention.trim, uid=uid, state=state, cutoff=cutoff, seq=seq, ts=now))
        return len(uids)


def _nothing() -> None:
    """What becomes of a user whose generation was refused."""
