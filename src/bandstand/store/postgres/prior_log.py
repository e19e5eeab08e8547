"""Learned priors in PostgreSQL: written by whoever leads, under its fence, and read by every process.

A prior of few users names them. So an erasure takes it out of the ledger in its own transaction, and whoever writes one
holds everybody whom it was learned from: nobody is erased between that look and the commit.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from bandstand.store.learners.prior_file import iter_canonical
from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.ledger import SharedLedger
from bandstand.store.postgres.upkeep import REQUIRE_LEAD, Upkeep
from bandstand.store.prior_protocol import PriorLedger, PriorMark, SampledUser
from bandstand.store.sqlite.packing import pack_body, unpack_body

_PAGE_SIZE = 1000
_MARKS = "SELECT policy, generation, wanted, settled, document IS NOT NULL AS is_there FROM priors"
_LOAD = "SELECT document FROM priors WHERE policy = $1"
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
        row = await self._ledger.readers.fetch_one(_LOAD, policy)
        if row is None or row["document"] is None:
            return None
        return await asyncio.to_thread(_parse, row["document"])

    async def write(
        self, policy: str, body: Mapping[str, Any], members: Collection[str], *, settled: int
    ) -> str | None:
        """Replace a policy's prior, if this process still leads and its members are there; returns its checksum."""
        lease = self._upkeep.held_lease
        if lease is None:
            return None
        document, checksum = await asyncio.to_thread(_render, body)
        user_ids = sorted(members)

        async def write(channel: Channel, _: int) -> str | None:
            session = channel.session
            if await session.fetchval(REQUIRE_LEAD, *lease) is None:
                return None
            held = [row[0] for row in await session.fetch(_HOLD_MEMBERS, user_ids)]
            if len(held) < len(user_ids):
                return None  # somebody was erased since their state was read
            await session.execute(_WRITE, policy, body["generation"], document, settled)
            await session.execute(_FORGET_MEMBERS, policy)
            await session.execute(_NOTE_MEMBERS, policy, held)
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


def _render(body: Mapping[str, Any]) -> tuple[bytes, str]:
    text = "".join(iter_canonical(dict(body))).encode("ascii")
    return pack_body(text), hashlib.sha256(text).hexdigest()


def _parse(document: bytes) -> dict[str, Any]:
    text = unpack_body(document)
    parsed: dict[str, Any] = json.loads(text)
    return {**parsed, "checksum": hashlib.sha256(text).hexdigest()}
