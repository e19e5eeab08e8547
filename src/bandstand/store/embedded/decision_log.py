"""Decisions: logged and counted, found again for their reward, and kept in memory while a reward is likely to come."""

from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import Any

from bandstand.store.embedded.in_flight import UserEvent
from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.records import Decision
from bandstand.store.sqlite.operations import SumIncrement, build_tally
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import decisions as decision_rows
from bandstand.store.tables import loop_health, updates
from bandstand.store.tables.event_rows import (
    INSERT_DECISION,
    INSERT_DECISION_ID,
    INSERT_ENROLMENT,
    INSERT_LINEAGE,
    INSERT_SUBJECT,
    INSERT_USER,
    EnrolmentInsert,
    LineageLookup,
    OwnIdInsert,
    SubjectInsert,
    UserInsert,
    build_decision_row,
)
from bandstand.store.tables.windows import INSERT_WINDOW, build_window_row

_MAX_RECENT_DECISIONS = 50_000
"""Decisions kept in memory; others are read from the ledger."""


class EmbeddedDecisions:
    """The decisions of a state directory, as :class:`bandstand.store.protocol.DecisionLog` has them.

    Attributes:
        forgotten: how often decisions were dropped from memory because the ledger knows better.
    """

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory
        self.forgotten = 0
        self._recent: OrderedDict[str, Decision] = OrderedDict()

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        """Log a decision and count it: submitted now, and there once it is awaited.

        The user must be in memory, and no await may lie between numbering the decision and this call.
        """
        if decision.own_id and (earlier := self._recent.get(decision.decision_id)) is not None:
            return self._wait_for_commit(earlier, self._directory.get_in_flight(earlier.seq))
        event = self._submit(decision)
        return self._wait_for_commit(decision, event) if decision.own_id else event

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        """Log decisions of one user, with ids of the caller's own, all of them in one commit or none."""
        if any(each.decision_id in self._recent for each in decisions):
            return False
        with self._directory.joined_writer.join():
            events = [self._submit(each) for each in decisions]
        try:
            for event in events:
                await event
        except EventCollisionError:
            return False
        return True

    async def _wait_for_commit(self, decision: Decision, event: UserEvent[Any] | None) -> Decision:
        try:
            if event is not None:
                await event
        except EventCollisionError:
            return await self._find_existing(decision)
        return decision

    async def _find_existing(self, decision: Decision) -> Decision:
        """What the ledger holds under the id: memory had forgotten it."""
        existing = await self.find_receipt(decision.decision_id)
        if existing is None:
            message = "the event collided with another; try again"
            raise EventCollisionError(message)
        return existing

    def _submit(self, decision: Decision) -> UserEvent[Decision]:
        directory = self._directory
        user = directory.users[decision.user_id]
        decision.uid = user.uid or directory.ensure_uid(user)
        policy_id = directory.registry.get_id(decision.policy)
        rows: list[tuple[str, Row]] = [(INSERT_DECISION, build_decision_row(decision, policy_id))]
        if decision.window is not None:
            rows.append((INSERT_WINDOW, build_window_row(decision, decision.window)))
        if decision.own_id:
            rows.append((INSERT_DECISION_ID, OwnIdInsert(decision.decision_id, decision.seq)))
        person = user if decision.subject is None else self._add_subject(decision.seq, decision.subject, rows)
        if person.has_tips:
            rows.append((INSERT_LINEAGE, LineageLookup(decision.seq, person.uid, decision.tip_id)))
        if decision.experiment and user.enrolled != (enrolment := (decision.experiment, decision.policy.name)):
            rows.append((INSERT_ENROLMENT, EnrolmentInsert(decision.uid, *enrolment)))
            user.enrolled = enrolment
        if person is not user:
            person.pending += 1  # they stay in memory, too
        event = directory.submit_event(
            _DecisionEvent(
                directory=directory,
                user=user,
                seq=decision.seq,
                result=decision,
                rows=rows,
                durable=False,
                policy_id=policy_id,
                person=person,
                recent=self._recent,
            )
        )
        self._cache(decision)
        return event

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, if all that its reward needs is in memory."""
        decision = self._recent.get(decision_id)
        if decision is None or self._directory.get_in_flight(decision.seq) is not None:
            return None
        if decision.shadow_updates is None and self._directory.registry.get_shadows():
            return None
        return decision

    def _add_subject(self, seq: int, subject: str, rows: list[tuple[str, Row]]) -> CachedUser:
        """Add the rows that say whom a decision was made for, if that is not whose model it is."""
        person = self._directory.users[subject]
        uid = self._directory.ensure_uid(person)
        if not person.registered:
            rows.append((INSERT_USER, UserInsert(uid, subject)))
        rows.append((INSERT_SUBJECT, SubjectInsert(seq, uid)))
        return person

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, for its reward."""
        directory, registry = self._directory, self._directory.registry
        decision = self._recent.get(decision_id)
        while decision is None:
            forgotten = self.forgotten
            found = await directory.read(decision_rows.find_decision, registry, decision_id)
            if found is None:
                return None
            decision = self.keep(found, forgotten)
        await directory.wait_committed(decision.seq)
        if decision.shadow_updates is None and registry.get_shadows():
            decision.shadow_updates = await directory.read(updates.load_shadow_updates, registry, decision.seq)
        return decision

    def keep(self, found: Decision, forgotten: int) -> Decision | None:
        """The decision that was read from the ledger, in memory from here on; or what memory has, if it was quicker.

        Args:
            found: the decision as it was read.
            forgotten: how many had been forgotten as the reading began. One that was forgotten since may have changed
                since, too: then nothing is kept, and ``None`` is returned.
        """
        decision = self._recent.get(found.decision_id)
        if decision is None and forgotten == self.forgotten:
            registry = self._directory.registry
            found.x = updates.encode_picked_features(registry, found.policy, found.body, found.pick)
            found.body, found.numbers = b"", None
            decision = found
            self._cache(decision)
        return decision

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""
        if (recent := self._recent.get(decision_id)) is not None:
            await self._directory.wait_committed(recent.seq)
        return await self._directory.read(decision_rows.find_decision, self._directory.registry, decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        return await self._directory.read(decision_rows.list_history, self._directory.registry, user_id, limit)

    async def find_times(self, since: float | None, until: float | None) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` if there is none."""
        return await self._directory.read(decision_rows.find_decision_times, since, until)

    def is_unchanged(self, user: CachedUser, decision: Decision | None) -> bool:
        """Whether the user and the decision that were found before an await are still the ones in memory."""
        return self._directory.users.is_current(user) and (
            decision is None or self._recent.get(decision.decision_id) is decision
        )

    def is_expired(self, decision: Decision) -> bool:
        """Whether retention takes the decision, or has taken it, while memory still knows it."""
        return decision.seq <= self._directory.horizon and decision.reward is None

    def forget(self, decision: Decision) -> None:
        """Read the decision from the ledger from now on: a reward for it was refused, so memory may be wrong."""
        self.forgotten += 1
        self._recent.pop(decision.decision_id, None)

    def forget_user(self, user_id: str) -> None:
        """Drop the user's decisions from memory."""
        self.forgotten += 1
        for decision_id in [
            key for key, decision in self._recent.items() if user_id in {decision.user_id, decision.subject}
        ]:
            del self._recent[decision_id]

    def _cache(self, decision: Decision) -> None:
        self._recent[decision.decision_id] = decision
        while len(self._recent) > _MAX_RECENT_DECISIONS:
            decision_id, oldest = self._recent.popitem(last=False)
            reward_seq = 0 if oldest.reward is None else oldest.reward.seq
            if self._directory.is_in_flight(oldest.seq, reward_seq, oldest.pending_turn_seq, oldest.part_seq):
                self._recent[decision_id] = oldest
                break


class _DecisionEvent(UserEvent[Decision], eq=False, kw_only=True):
    """A decision on its way.

    Attributes:
        policy_id: its policy's key in the ledger.
        person: whom it was made for, who may be the user.
        recent: where it is kept for its reward.
    """

    policy_id: int
    person: CachedUser
    recent: OrderedDict[str, Decision]

    @staticmethod
    def sum_up(events: "Sequence[_DecisionEvent]") -> list[SumIncrement]:  # type: ignore[override]  # of this kind
        """What they add to the hourly counts, and to the sums about the health of their loop."""
        made: dict[tuple[int, int], list[Decision]] = {}  # by hour and policy
        for event in events:
            decision = event.result
            made.setdefault((int(decision.ts // 3600), event.policy_id), []).append(decision)
        increments: list[SumIncrement] = []
        for (_, policy_id), decisions in made.items():
            ts, explores = decisions[0].ts, sum([each.exploring for each in decisions])
            increments.append(build_tally(ts, policy_id, len(decisions), explores))
            increments += loop_health.sum_draws(loop_health.to_day(ts), policy_id, decisions)
        return increments

    def apply(self) -> None:
        user, person, decision = self.user, self.person, self.result
        if person is not user:
            person.pending -= 1
            person.registered = True
        policy = decision.policy
        if not user.profile.apply_decision(decision.seq, policy.key, decision.ts, exploring=decision.exploring):
            user.stale = True
        user.open_decisions.add(decision.seq, policy.name, decision.tip_id, decision.ts)
        decision.body, decision.numbers, decision.request = b"", None, None  # logged; a reward needs only x

    def take_back(self) -> None:
        if self.person is not self.user:
            self.person.pending -= 1
        self.recent.pop(self.result.decision_id, None)
        self.user.enrolled = None
