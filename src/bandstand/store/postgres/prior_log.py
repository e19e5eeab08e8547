"""Learned priors in PostgreSQL: written by whoever leads, under its fence, and read by every process.

A prior of few users names them. So an erasure takes it out of the ledger in its own transaction, and whoever writes one
holds everybody whom it was learned from: nobody is erased between that look and the commit. One that was
learned offline, from everybody, is written in the same way, as the next generation.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from bandstand.errors import InvalidRequestError
from bandstand.store.learners.prior_file import iter_canonical
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.upkeep import REQUIRE_LEAD, Upkeep
from bandstand.store.prior_protocol import PriorLedger, PriorMark, SampledUser
from bandstand.store.sqlite.packing import pack_body, unpack_body

_PAGE_SIZE = 1000
_MARKS = "SELECT policy, generation, wanted, settled, document IS NOT NULL AS is_there FROM priors"
_LOAD = "SELECT document FROM priors WHERE policy = $1"
_LOCK = "SELECT generation, wanted FROM priors WHERE policy = $1 FOR UPDATE"
_HOLD_MEMBERS = "SELECT uid FROM users WHERE user_id = ANY ($1::text[]) ORDER BY uid FOR KEY SHARE"
_WRITE = """INSERT INTO priors (policy, generation, document, wanted, settled) VALUES ($1, $2, $3, $4, $4)
    ON CONFLICT (policy) DO UPDATE SET generation = $2, document = $3, settled = $4,
        wanted = greatest(priors.wanted, $4)"""
_FORGET_MEMBERS = "DELETE FROM prior_members WHERE policy = $1"
_NOTE_MEMBERS = "INSERT INTO prior_members (policy, uid) SELECT $1, unnest($2::bigint[])"
_MARK = """UPDATE priors SET wanted = wanted + 1 WHERE policy = ANY ($2::text[]) OR policy IN (
        SELECT m.policy FROM users AS u JOIN prior_members AS m ON m.uid = u.uid WHERE u.user_id = ANY ($1::text[]))
    RETURNING policy"""
_COUNT_REWARDS = "SELECT coalesce(sum(rewards), 0)::bigint FROM rollups_s WHERE hour = -1"
_REWARDED_USERS = "SELECT uid, user_id, version FROM users WHERE uid > $1 AND version > 0 ORDER BY uid LIMIT $2"


class SharedPriors(PriorLedger):
    """The learned priors of a shared ledger.

    Args:
        ledger: whose.
        upkeep: knows whether this process leads.
    """

    def __init__(self, ledger: SharedLedger, upkeep: Upkeep) -> None:
        self._ledger = ledger
        self._upkeep = upkeep

    @property
    def is_leading(self) -> bool:
        """Whether this process learns them."""
        return self._upkeep.is_leader

    async def list_marks(self) -> Mapping[str, PriorMark]:
        """How each policy's prior stands."""
        rows = await self._ledger.readers.fetch(_MARKS)
        return {row["policy"]: PriorMark(*row[1:]) for row in rows}

    async def load(self, policy: str) -> dict[str, Any] | None:
        """What was written of a policy; ``None`` where nothing is to be read."""
        return await read_prior(self._ledger.readers, policy)

    async def write(
        self, policy: str, body: Mapping[str, Any], members: Collection[str], *, settled: int
    ) -> str | None:
        """Replace a policy's prior, if this process still leads and its members are there; returns its checksum."""
        lease = self._upkeep.held_lease
        if lease is None:
            return None
        document, checksum = await asyncio.to_thread(_render, body)

        async def write(channel: Channel, _: int) -> str | None:
            session = channel.session
            if await session.fetchval(REQUIRE_LEAD, *lease) is None:
                return None
            held = await _hold_members(session, members)
            if held is None:
                return None
            await session.execute(_WRITE, policy, body["generation"], document, settled)
            await _note_members(session, policy, held)
            return checksum

        return await self._ledger.writers.transact(write)

    async def mark(self, *, users: Collection[str] = (), policies: Collection[str] = ()) -> list[str]:
        """Ask for other priors; returns of which policies."""
        rows = await self._ledger.writers.fetch(_MARK, list(users), list(policies))
        return sorted(row["policy"] for row in rows)

    async def count_rewards(self) -> int:
        """How many rewards there are."""
        return int((await self._ledger.readers.fetch_one(_COUNT_REWARDS))[0])

    async def iter_rewarded_users(self) -> AsyncIterator[list[SampledUser]]:
        """Everybody who has taught something, in pages."""
        after = 0
        while rows := await self._ledger.readers.fetch(_REWARDED_USERS, after, _PAGE_SIZE):
            yield [SampledUser(row["user_id"], row["version"]) for row in rows]
            after = rows[-1]["uid"]


async def read_prior(pool: ConnectionPool, policy: str) -> dict[str, Any] | None:
    """What was written of a policy; ``None`` where nothing is to be read."""
    row = await pool.fetch_one(_LOAD, policy)
    if row is None or row["document"] is None:
        return None
    return await asyncio.to_thread(_parse, row["document"])


async def write_offline_prior(pool: ConnectionPool, policy: str, body: Mapping[str, Any]) -> None:
    """Put a prior in its place that was learned beside the services; they believe it within seconds.

    Args:
        pool: of connections that write.
        policy: its name.
        body: the prior, with its ``members`` and ``former`` ones; these are noted beside it.

    Raises:
        InvalidRequestError: somebody whom it was learned from has been erased meanwhile; nothing was written.
    """
    kept = dict(body)
    names = [*kept.pop("members"), *kept.pop("former")]

    async def write(channel: Channel, _: int) -> None:
        session = channel.session
        held = await _hold_members(session, names)
        if held is None:
            raise InvalidRequestError("users have been erased meanwhile: reduce again")
        found = await session.fetch(_LOCK, policy)
        last, wanted = found[0] if found else (0, 0)
        numbered = {**kept, "generation": max(int(kept["generation"]), last + 1)}
        document, _checksum = _render(numbered)
        await session.execute(_WRITE, policy, numbered["generation"], document, wanted)
        await _note_members(session, policy, held)

    await pool.transact(write, is_long=True)


async def _hold_members(session: Any, user_ids: Collection[str]) -> list[int] | None:
    """Keep users from being erased until the commit; ``None`` if one of them was since their state was read."""
    held = [row[0] for row in await session.fetch(_HOLD_MEMBERS, sorted(user_ids))]
    return held if len(held) == len(user_ids) else None


async def _note_members(session: Any, policy: str, uids: Collection[int]) -> None:
    await session.execute(_FORGET_MEMBERS, policy)
    await session.execute(_NOTE_MEMBERS, policy, list(uids))


def _render(body: Mapping[str, Any]) -> tuple[bytes, str]:
    text = "".join(iter_canonical(dict(body))).encode("ascii")
    return pack_body(text), hashlib.sha256(text).hexdigest()


def _parse(document: bytes) -> dict[str, Any]:
    text = unpack_body(document)
    parsed: dict[str, Any] = json.loads(text)
    return {**parsed, "checksum": hashlib.sha256(text).hexdigest()}
