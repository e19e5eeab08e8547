"""Revocations: rewards taken back out of sums and counters, by a judge's second verdict or by an operator's undo."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from bandstand.store.embedded.state_directory import EventCollisionError, StateDirectory
from bandstand.store.learners.user_cache import CachedUser
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import revocations, undo
from bandstand.store.tables.event_rows import INSERT_MARK
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord

_MAX_SUBTRACTED = 1_000
"""Rewards taken back at once that are subtracted in memory; for more, their users are read from the ledger again."""
_MAX_TRIES = 3
"""How often what is to be taken back is looked up again because another took some of it meanwhile."""


class PendingRevocation(NamedTuple):
    """Rows that take rewards back, and what is done when they are committed or refused."""

    rows: list[tuple[str, Row]]
    on_committed: Callable[[], None]
    on_rejected: Callable[[], None]
    revoked: Sequence[RevocableReward]


class EmbeddedRevocations:
    """The revocations of a state directory, as :class:`bandstand.store.protocol.UndoLog` has them."""

    def __init__(self, directory: StateDirectory) -> None:
        self._directory = directory
        self._revoking: set[int] = set()  # event numbers of rewards that are being taken back

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back."""
        return await self._directory.read(undo.select_rewards, self._directory.registry, selection)

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return await self._directory.read(undo.has_revocations_since, seq)

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""
        return await self._directory.read(undo.list_undos, before, limit)

    async def revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and counters."""
        for _ in range(_MAX_TRIES - 1):
            try:
                return await self._revoke(reward_seqs, cause=cause, client=client, selection=selection)
            except EventCollisionError:
                pass
        return await self._revoke(reward_seqs, cause=cause, client=client, selection=selection)

    async def _revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None
    ) -> list[RevocableReward]:
        directory = self._directory
        found = await self.find_revocable(reward_seqs)
        users: dict[str, CachedUser] = {}
        try:
            for each in found:
                if each.user_id not in users:
                    user = users[each.user_id] = await directory.users.get_or_load(each.user_id)
                    user.pending += 1  # it must still be here when all the others are
            revocable = [each for each in found if self.is_revocable(users[each.user_id], each)]
            if revocable:
                ts = directory.clock()
                revocation = self.build_revocation(revocable, cause=cause, client=client, ts=ts)
                user, seq = users[revocable[0].user_id], directory.next_seq(ts)
                if selection is not None:
                    revocation.rows.append(
                        (INSERT_MARK, undo.build_undo_row(seq, selection, revocable, client=client, ts=ts))
                    )
                await directory.submit(user, seq, *revocation[:3], durable=True)
        finally:
            for user in users.values():
                user.pending -= 1
                directory.users.drop_if_stale(user)
        return revocable

    async def find_revocable(self, reward_seqs: Collection[int]) -> list[RevocableReward]:
        """Those of the rewards that the ledger has in the sums."""
        return await self._directory.read(revocations.find_revocable, self._directory.registry, reward_seqs)

    def is_revocable(self, user: CachedUser, reward: RevocableReward) -> bool:
        """Whether a reward found in the ledger is still in the sums, whatever is in flight."""
        gone = reward.seq <= max(user.reset_seq, self._directory.horizon) or reward.seq in self._revoking
        return not gone and user.uid == reward.uid and self._directory.users.is_current(user)

    def build_revocation(
        self, revocable: list[RevocableReward], *, cause: str, client: str, ts: float
    ) -> PendingRevocation:
        """The rows that take rewards of users in memory back, and what is done when they are committed or refused.

        The rewards count as being taken back from here on: either function must be called.
        """
        cache = self._directory.users
        numbered = [(self._directory.next_seq(ts), each) for each in revocable]
        users = [cache[each.user_id] for each in revocable]
        rows = [row for seq, each in numbered for row in each.build_rows(seq, cause=cause, client=client, ts=ts)]
        self._revoking.update(each.seq for each in revocable)

        def on_settled() -> None:
            self._revoking.difference_update(each.seq for each in revocable)

        def on_committed() -> None:
            on_settled()
            if len(revocable) > _MAX_SUBTRACTED:
                for user in users:
                    # Whoever is not idle but for this is subtracted from all the same, until they are.
                    user.stale = True
                    if user.pending == 1:
                        cache.drop(user)
            for (seq, each), user in zip(numbered, users, strict=True):
                if cache.is_current(user):
                    exact = each.apply_revocation(seq, user.profile)
                    user.stale = user.stale or not exact
                    user.changed = True

        return PendingRevocation(rows, on_committed, on_settled, revocable)
