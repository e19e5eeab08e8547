"""Decisions: compared and inserted in groups, and found again by any process."""

from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, NamedTuple

from bandstand.bandit.aggregation import PartSums
from bandstand.errors import StorageUnavailableError
from bandstand.store.ids import get_nonce, parse_event_id
from bandstand.store.outcomes import Outcome, settle_with
from bandstand.store.postgres.columns import to_columns
from bandstand.store.postgres.connections import TOUCH_STRIPE, Channel
from bandstand.store.postgres.decision_rows import (
    DECISION,
    DECISIONS_BY_ID,
    HISTORY,
    REWARD_OF_DECISION,
    SUBJECT_HISTORY,
    to_decision,
    to_reward,
)
from bandstand.store.postgres.decision_statements import (
    ALIKE,
    FIND_LOGGED,
    FIND_USERS,
    LOG_DECISIONS,
    LOG_SUBJECTS_DECISIONS,
    REGISTER_USERS,
)
from bandstand.store.postgres.group_lane import GroupLane
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.part_statements import COUNTED_REASONS, PARTS_OF_DECISION, to_part_reward
from bandstand.store.postgres.picked_request import cut_request
from bandstand.store.postgres.profiles import CachedProfile
from bandstand.store.protocol import MovedError
from bandstand.store.records import LAST_SEQ, Array, Decision, first_seq_at
from bandstand.store.sqlite.packing import pack_body
from bandstand.store.tables.loop_health import compute_draw_sums
from bandstand.store.tables.updates import encode_picked_features

_WORKERS = 2
_MAX_RECENT = 50_000
_VERSION, _IS_FORCED = 3, 4
"""The places of the version in a row, and of whether the decision is taken as it is."""
_ARE_TAKEN = "SELECT EXISTS (SELECT 1 FROM decision_ids WHERE decision_id = ANY ($1::text[]))"
_TIMES = """SELECT (SELECT ts FROM decisions WHERE seq >= $1 AND seq < $2 ORDER BY seq LIMIT 1),
    (SELECT ts FROM decisions WHERE seq >= $1 AND seq < $2 ORDER BY seq DESC LIMIT 1)"""


class _NotLoggedError(Exception):
    """Ends the transaction of decisions that belong together: some were not logged."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__()
        self.answers = answers


class _PendingDecision(NamedTuple):
    """A decision on its way: its row, whose model made it, and whom it was made for."""

    row: tuple[Any, ...]
    user: CachedProfile
    person: CachedProfile

    @property
    def version(self) -> int:
        """The number of the last event of the state that it was made from."""
        return int(self.row[_VERSION])

    @property
    def is_forced(self) -> bool:
        """Whether that state was read after the decision was asked for, so that it counts whatever is newer now."""
        return bool(self.row[_IS_FORCED])


class ReadDecision(NamedTuple):
    """The rows of a decision.

    Attributes:
        row: its own, with its window.
        reward: of the one that stands.
        parts: what was given for it over time, in order.
        pending_turn: event number of the turn that waits to reward it, 0 for none.
    """

    row: Any
    reward: Any
    parts: list[Any]
    pending_turn: int

    def list_seqs(self) -> list[int]:
        """The event numbers of what was given for it."""
        return [each["seq"] for each in (*self.parts, *(() if self.reward is None else (self.reward,)))]


class SharedDecisions:
    """The decisions of a shared ledger, as :class:`bandstand.store.protocol.DecisionLog` has them."""

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger
        self._recent: OrderedDict[str, Decision] = OrderedDict()  # made here, for the rewards that are to come
        ledger.forget_decisions = self._recent.clear
        self.lane = GroupLane(
            ledger.decisions,
            self._send,
            workers=_WORKERS,
            max_pending=ledger.options.max_pending,
            observe=lambda size, seconds: ledger.observe_group(
                size, seconds, synced=ledger.options.durability == "strict"
            ),
            on_error=ledger.record_error,
        )
        self.lookups = GroupLane(
            ledger.readers,
            self._look_up,
            workers=1,
            max_pending=ledger.options.max_pending,
            observe=lambda _size, _seconds: None,
            on_error=ledger.record_error,
        )

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        """Log a decision if the state that it was made from still stands: submitted now, known once it is awaited."""
        outcome: Outcome[Decision] = Outcome()  # the alias in brackets would take a microsecond to call
        pending = self._prepare(decision)
        self.lane.add(pending, partial(self._conclude, decision, pending, outcome))
        return outcome

    def _conclude(
        self,
        decision: Decision,
        pending: _PendingDecision,
        outcome: Outcome[Decision],
        found: Any,
        error: BaseException | None,
    ) -> None:
        """Settle at once what was logged; everything else has to be looked up in the ledger."""
        if found is not None and found["is_logged"]:
            self._note_logged(decision, pending.user)
            outcome.settle(decision, None)
        elif error is not None:
            outcome.settle(None, error)
        else:
            settle_with(self._find_standing(decision, pending, found), outcome)

    async def _find_standing(self, decision: Decision, pending: _PendingDecision, found: Any) -> Decision:
        """The decision that stands in the place of one that was not logged.

        Raises:
            MovedError: no decision stands; it must be made again.
        """
        users, user = self._ledger.users, pending.user
        if found is None:
            users.drop(decision.user_id)
            users.drop(decision.subject or decision.user_id)
            raise MovedError("the user was erased meanwhile; decide again")
        if not found["is_current"]:
            await self._ledger.reload()
            raise MovedError("the deployment has changed meanwhile; decide again")
        if found["now"] < pending.version:  # the database was restored to an earlier moment
            users.drop(decision.user_id)
            raise MovedError("the user's state has gone back; decide again")
        if found["is_stale"] and not pending.is_forced:
            self._ledger.stale_scores += 1
            user.is_behind = True
            await users.catch_up_to(user, found["now"])
            raise MovedError("the user has been rewarded meanwhile; decide again", known=found["now"])
        existing = await self.find_acknowledged(decision.decision_id)
        if existing is None:  # its user was reset, or what had its id was erased
            await users.catch_up_to(user, found["now"])
            raise MovedError("the user was reset meanwhile; decide again", known=found["now"])
        if existing.seq == decision.seq:  # it was logged at an earlier try, whose answer was lost
            self._note_logged(decision, user)
            return decision
        return existing

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        """Log decisions of one user, with ids of the caller's own, all of them in one commit or none.

        Raises:
            MovedError: the state that they were made from does not stand any more; nothing was logged.
        """
        ledger, events = self._ledger, [self._prepare(each) for each in decisions]
        user = events[0].user
        try:
            await ledger.decisions.transact(partial(self._send_together, events=events))
        except _NotLoggedError as refused:
            if not all(refused.answers):
                for gone in {user.profile.user_id, *(each.person.profile.user_id for each in events)}:
                    ledger.users.drop(gone)
                raise MovedError("the user was erased meanwhile; decide again") from None
            if not all(answer["is_current"] for answer in refused.answers):
                await ledger.reload()
                raise MovedError("the deployment has changed meanwhile; decide again") from None
            now = min(answer["now"] for answer in refused.answers)
            if now < events[0].version:
                ledger.users.drop(user.profile.user_id)  # the database was restored to an earlier moment
            else:
                await ledger.users.catch_up_to(user, now)
            if await self._is_any_taken(decisions):
                return False
            raise MovedError("the user was rewarded or reset meanwhile; decide again", known=now) from None
        for each in decisions:
            self._note_logged(each, user)
        return True

    async def _send_together(self, channel: Channel, tries: int, *, events: list[_PendingDecision]) -> None:
        answers = await self._send(channel, events, tries)
        if not all(answer is not None and answer["is_logged"] for answer in answers):
            raise _NotLoggedError(answers)

    async def _is_any_taken(self, decisions: Sequence[Decision]) -> bool:
        ids = [each.decision_id for each in decisions]
        return bool((await self._ledger.readers.fetch_one(_ARE_TAKEN, ids))[0])

    def _note_logged(self, decision: Decision, user: CachedProfile) -> None:
        state = user.profile.get_state(decision.policy.key)
        state.pulls += 1
        state.explores += decision.exploring
        decision.uid = user.uid
        decision.body, decision.numbers, decision.request = b"", None, None  # the ledger has them
        self._recent[decision.decision_id] = decision
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)

    def _prepare(self, decision: Decision) -> _PendingDecision:
        user = self._ledger.users.get(decision.user_id)
        person = user if decision.subject is None else self._ledger.users.get(decision.subject)
        if user is None or person is None:
            raise StorageUnavailableError("the user has left memory; try again")
        return _PendingDecision(self._build_row(decision, user), user, person)

    def _build_row(self, decision: Decision, user: CachedProfile) -> tuple[Any, ...]:
        numbers, window = decision.numbers, decision.window
        part, sums = compute_draw_sums(decision)
        _, _, _, _, picked, likeliest, variance, weight, weight_squares, support = sums
        return (
            decision.seq,
            None if decision.own_id else get_nonce(decision.decision_id),
            user.uid,
            user.profile.seq,
            (decision.known is not None and user.profile.seq >= decision.known) or None,
            decision.decision_id if decision.own_id else None,
            self._ledger.registry.get_id(decision.policy),
            decision.client,
            decision.ts,
            decision.tip_id,
            decision.pick,
            bool(decision.exploring),
            decision.seed,
            decision.score,
            decision.propensity,
            decision.floor,
            pack_body(decision.body),
            b"" if numbers is None else numbers.tobytes(),
            cut_request(decision.body, decision.pick, decision.request),
            *((decision.experiment, decision.policy.name) if decision.experiment else (None, None)),
            part,
            picked,
            likeliest,
            variance,
            weight,
            weight_squares,
            float(support),
            self._ledger.epoch,
            *((None, None, None) if window is None else (window.held, window.due, window.fallback)),
        )

    async def _send(self, channel: Channel, events: list[_PendingDecision], tries: int) -> list[Any]:
        session = channel.session
        users = [user for each in events for user in (each.user, each.person)]
        if unknown := {user.profile.user_id for user in users if not user.uid}:
            await _register(session, sorted(unknown), users)
        stood: set[int] = set()
        if tries:
            seqs = [each.row[0] for each in events]
            stood = {seq for (seq,) in await session.fetch(FIND_LOGGED, seqs)}
            await session.execute(TOUCH_STRIPE, channel.stripe)
        statement, rows = (
            LOG_DECISIONS,
            [(*row[:2], user.uid, *row[3:], person.uid) for row, user, person in events if row[0] not in stood],
        )
        found: dict[int, Any] = {seq: {"is_logged": True} for seq in stood}
        if rows:
            columns = to_columns(rows, ALIKE)
            if columns[2] == columns[-1]:  # all by their own
                del columns[-1]
            else:
                statement = LOG_SUBJECTS_DECISIONS
            answers = await session.fetch(statement, *columns, channel.stripe)
            found |= {answer["seq"]: answer for answer in answers}
        return [found.get(each.row[0]) for each in events]

    def get_features(self, decision_id: str | None, seq: int) -> Array | None:
        """The features of a decision's pick, if it was made here and lately."""
        recent = self._recent.get(decision_id or "")
        return None if recent is None or recent.seq != seq else recent.x

    # ── finding them ──────────────────────────────────────────────────────────────────────────────────────────────

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id with its reward, and the features that it was made from."""
        decision = await self.find_receipt(decision_id)
        if decision is not None:
            decision.x = self.get_features(decision_id, decision.seq)
            if decision.x is None:
                registry = self._ledger.registry
                decision.x = encode_picked_features(registry, decision.policy, decision.body, decision.pick)
        return decision

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, if it was made here and lately; it may have been erased by another process since."""
        return self._recent.get(decision_id)

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""
        if "\0" in decision_id:
            return None
        row = await self.lookups.submit(decision_id)
        if row is None:
            return None
        found = ReadDecision(row, None, [], row["pending_turn"])
        if row["has_reward"] or row["has_parts"]:
            more = await self._ledger.readers.run(lambda channel, _: self.read(channel, decision_id))
            if more is None:  # it was erased meanwhile
                return None
            found = more
        await self._ledger.prepare_events([found.row])
        decision = self.build(found)
        self._ledger.observe_seq(decision.seq)
        return decision

    async def find_acknowledged(self, decision_id: str) -> Decision | None:
        """The same, as durable as when it was acknowledged first; whoever sends its id again is answered by it."""
        found = await self.find_receipt(decision_id)
        if found is not None and self._ledger.options.durability == "strict" and found.own_id:
            await self._ledger.harden()
        return found

    async def _look_up(self, channel: Channel, decision_ids: list[str], tries: int) -> list[Any]:
        """The rows of decisions by their ids; ``None`` for one that is not there."""
        del tries
        seqs = [parse_event_id(each) for each in decision_ids]
        nonces = [None if seq is None else get_nonce(each) for each, seq in zip(decision_ids, seqs, strict=True)]
        found = {row["place"]: row for row in await channel.session.fetch(DECISIONS_BY_ID, decision_ids, seqs, nonces)}
        return [found.get(place) for place in range(1, len(decision_ids) + 1)]

    async def read(self, channel: Channel, decision_id: str) -> ReadDecision | None:
        """The rows of a decision, as a channel sees them now."""
        seq, session = parse_event_id(decision_id), channel.session
        row = await session.fetchrow(DECISION, decision_id, seq, None if seq is None else get_nonce(decision_id))
        if row is None:
            return None
        # A reward that came between is as if it had come later: whoever rewards is told by the claim.
        reward = await session.fetchrow(REWARD_OF_DECISION, row["seq"]) if row["has_reward"] else None
        parts = await session.fetch(PARTS_OF_DECISION, row["seq"]) if row["has_parts"] else []
        return ReadDecision(row, reward, parts, row["pending_turn"])

    def build(self, read: ReadDecision) -> Decision:
        """A decision in full, its reward, window and parts with it; its policy must be known."""
        registry = self._ledger.registry
        decision = to_decision(read.row, registry)
        decision.pending_turn_seq = read.pending_turn
        decision.parts = PartSums.from_values(each["value"] for each in read.parts if each["reason"] in COUNTED_REASONS)
        if read.reward is not None:
            decision.reward = to_reward(read.reward, registry)
        elif read.parts:  # nothing was taught: the first of what was kept
            decision.reward = to_part_reward(read.parts[0], registry)
        return decision

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        rows = await self._ledger.readers.fetch(HISTORY, user_id, limit)
        rows = rows or await self._ledger.readers.fetch(SUBJECT_HISTORY, user_id, limit)
        await self._ledger.prepare_events(rows)
        return [to_decision(row, self._ledger.registry) for row in reversed(rows)]

    async def find_times(self, since: float | None, until: float | None) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` if there is none."""
        after = 0 if since is None else first_seq_at(since)
        before = LAST_SEQ if until is None else first_seq_at(until)
        first, last = await self._ledger.readers.fetch_one(_TIMES, after, before)
        return None if first is None else (first, last)


async def _register(session: Any, user_ids: list[str], users: list[CachedProfile]) -> None:
    """Insert rows for new users; one whom another process has met before turns out to be stale."""
    await session.execute(REGISTER_USERS, user_ids)
    uids = {row["user_id"]: row["uid"] for row in await session.fetch(FIND_USERS, user_ids)}
    for user in users:
        user.uid = user.uid or uids[user.profile.user_id]
