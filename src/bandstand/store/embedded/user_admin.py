"""Users: their profiles, and what operators do to them: list, reset, erase."""

import asyncio
from dataclasses import replace
from functools import partial

from bandstand.bandit.profile import Profile
from bandstand.store.embedded.decision_log import EmbeddedDecisions
from bandstand.store.embedded.revocation_log import EmbeddedRevocations
from bandstand.store.embedded.state_directory import StateDirectory, noop
from bandstand.store.learners import erasure
from bandstand.store.records import Erasure, UserPage, first_seq_at
from bandstand.store.tables import decisions
from bandstand.store.tables.event_rows import INSERT_MARK, MarkInsert

_MAX_GENERATION_S = 3600.0
"""Seconds; `GENERATE_DEADLINE_S` allows no more."""


class EmbeddedUsers:
    """The users of a state directory, as :class:`bandstand.store.user_protocol.UserRegister` has them."""

    def __init__(
        self, directory: StateDirectory, decision_log: EmbeddedDecisions, revocations: EmbeddedRevocations
    ) -> None:
        self._directory = directory
        self._revocations = revocations
        if directory.options.shared_user is not None:
            directory.part = self._part
        self._decision_log = decision_log
        self._erased: dict[bytes, int] = {}  # by tombstone: who was erased while a generation may have been under way

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now."""
        user = self._directory.users.get(user_id)
        return None if user is None else user.profile

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return (await self._directory.users.get_or_load(user_id)).profile

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        return await self._directory.read(decisions.list_users, prefix, after, limit)

    async def count_users(self) -> int:
        """How many users the ledger knows."""
        return await self._directory.read(decisions.count_users)

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""
        directory = self._directory
        user = await directory.users.get_or_load(user_id)
        if not user.registered and not user.pending:
            return
        ts = directory.clock()
        seq = user.reset_seq = directory.next_seq(ts)
        row = MarkInsert(seq, directory.ensure_uid(user), "reset", ts, client, None)

        def on_committed() -> None:
            user.profile.apply_reset(seq)
            user.reset_seq = max(user.reset_seq, seq)

        def on_rejected() -> None:
            if user.reset_seq == seq:
                user.reset_seq = user.profile.reset_seq

        await directory.submit(user, seq, [(INSERT_MARK, row)], on_committed, on_rejected, durable=True)

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""
        return await asyncio.shield(self._erase(user_id, client))  # once it has begun, whoever asked may go

    async def _erase(self, user_id: str, client: str) -> Erasure:
        shared = self._directory.options.shared_user
        if shared is None:
            return await self._erase_rows(user_id, client)
        owner = await self._directory.users.get_or_load(shared)
        owner.pending += 1  # so that what is taken out of it is taken out of this one
        try:
            return await self._erase_rows(user_id, client)
        finally:
            owner.pending -= 1
            self._directory.users.drop_if_stale(owner)

    async def _erase_rows(self, user_id: str, client: str) -> Erasure:
        directory = self._directory
        user = await directory.users.get_or_load(user_id)
        with directory.users.exclude(user):  # from here on; before the first await
            self._decision_log.forget_user(user_id)
            # Files first: a crash in between leaves a user whose document is made again from the ledger, not a document
            # of nobody.
            documents = await directory.users.delete_document(user_id)
            ts = directory.clock()
            seq, digest = directory.next_seq(ts), self._compute_tombstone(user_id)
            begin = partial(erasure.begin_erasure, uid=user.uid, tombstone=digest, seq=seq, ts=ts, client=client)
            begun, enrolments = await directory.run_exclusively(begin)
            under_way = first_seq_at(ts - _MAX_GENERATION_S)
            self._erased = {key: at for key, at in self._erased.items() if at > under_way} | {digest: seq}
            self._decision_log.forget_user(user_id)  # what was read meanwhile
            if begun:
                directory.erasures.add(digest, user.uid)
            counts = await directory.erasures.finish(digest)
            log_emptied = await directory.empty_log()
        return replace(erasure.to_erasure(counts, enrolments), documents=documents, log_emptied=log_emptied)

    async def _part(self, uid: int) -> None:
        """Take what a user taught out of everybody's model: rewards as undo does, decisions from the counts.

        A document of it from before is not believed from then on. While it is not in memory, it is read from the ledger
        when next needed, after everything of the user is deleted.
        """
        directory = self._directory
        ts = directory.clock()
        # What was on its way to the ledger when the user became unknown is there now.
        await directory.run_exclusively(lambda _: None, durable=False)
        owner = directory.users.get(directory.options.shared_user or "")
        if owner is None:
            seq = directory.next_seq(ts)
            await directory.run_exclusively(
                partial(erasure.log_parting, uid=uid, seq=seq, ts=ts, client="erasure"), durable=False
            )
            return
        if taught := await directory.read(erasure.find_taught, uid):
            await self._revocations.revoke(taught, cause="erasure", client="erasure")
        parted = await directory.read(erasure.count_pulls, uid)
        seq = directory.next_seq(ts)
        row = MarkInsert(seq, directory.ensure_uid(owner), erasure.PARTING, ts, "erasure", None)

        def on_committed() -> None:
            for each in parted:
                key = each.policy, each.schema
                exact = owner.profile.apply_parting(seq, key, each.pulls, each.explores, each.newest)
                owner.stale = owner.stale or not exact

        await directory.submit(owner, seq, [(INSERT_MARK, row)], on_committed, noop, durable=True)
        await directory.users.delete_document(owner.profile.user_id)  # the next checkpoint writes one without them

    def was_erased_since(self, user_id: str, seq: int) -> bool:
        """Whether the user was erased after an event that began within the last hour."""
        return bool(self._erased) and self._erased.get(self._compute_tombstone(user_id), 0) > seq

    def _compute_tombstone(self, user_id: str) -> bytes:
        return erasure.compute_tombstone(self._directory.secret, user_id)
