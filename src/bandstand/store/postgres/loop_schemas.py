"""The schemas of the other loops: each a ledger of its own, next to the default loop's."""

import hashlib
import re
import secrets

from bandstand.store.postgres.connections import Channel
from bandstand.store.postgres.deployment_log import LOCK_DEPLOYMENT
from bandstand.store.postgres.ledger import SharedLedger

_MAX_PART = 24
"""Of the outer schema's name and of the loop's: PostgreSQL cuts names after 63 characters."""
_IS_THERE = "SELECT to_regnamespace($1) IS NOT NULL"


class LoopSchemas:
    """Names schemas for loops, and drops them.

    Args:
        ledger: of the default loop.
    """

    def __init__(self, ledger: SharedLedger) -> None:
        self._ledger = ledger

    def build_name(self, loop: str) -> str:
        """A name for the schema of a new loop: no other loop ever had it, nor an earlier one of the same name.

        So a process that has not heard of a deletion can never write into what was made afterwards.
        """
        return build_schema_name(self._ledger.address.schema, loop, secrets.token_hex(6))

    async def drop(self, schema: str) -> None:
        """Drop the schema of a loop that is gone, with all that it holds; idempotent."""

        async def drop(channel: Channel, _: int) -> None:
            await channel.session.fetchrow(LOCK_DEPLOYMENT)  # one after the other: whoever sees a deletion does this
            await channel.session.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

        if (await self._ledger.readers.fetch_one(_IS_THERE, schema))[0]:
            await self._ledger.writers.transact(drop, is_long=True)


def build_schema_name(outer: str, loop: str, word: str) -> str:
    """The name of a loop's schema, to be read by a person.

    Args:
        outer: schema of the default loop.
        loop: its name.
        word: twelve digits, which no other loop has.
    """
    readable = re.sub("[^a-z0-9]", "_", loop)
    return f"{outer[:_MAX_PART]}_{readable[:_MAX_PART]}_{word}"


def compute_place(outer: str, loop: str, secret: bytes) -> str:
    """The schema that a loop of a state directory is moved into, the same at each try.

    Args:
        outer: schema of the default loop.
        loop: its name.
        secret: of its ledger, which no other loop has, nor a later one of its name.
    """
    return build_schema_name(outer, loop, hashlib.sha256(b"place " + secret).hexdigest()[:12])
