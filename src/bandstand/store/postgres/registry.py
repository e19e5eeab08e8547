"""The policies of a shared ledger: a registry filled from PostgreSQL, which every process reloads as they change."""

import json
from collections.abc import Iterable
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import ConfigurationError
from bandstand.store.postgres.connections import Channel, ConnectionPool
from bandstand.store.tables.memories import parse_memory_change
from bandstand.store.tables.policies import PolicyRegistry

_POLICIES = """SELECT p.id, p.name, p.hash, p.schema, p.schema_hash, p.schema_definition FROM policies AS p
    LEFT JOIN schemas AS s ON s.name = p.schema ORDER BY (p.schema_hash IS NOT DISTINCT FROM s.hash) DESC, p.id DESC"""
_SHADOWS = "SELECT seq, document FROM marks WHERE uid IS NULL AND kind = 'shadow' ORDER BY seq"
_MEMORIES = "SELECT ts, document FROM marks WHERE uid IS NULL AND kind = 'memory' ORDER BY seq"
_ADD_POLICY = """INSERT INTO policies (name, hash, schema, schema_hash, schema_definition) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING"""
_HAS_SUMS = """SELECT EXISTS (SELECT 1 FROM rewards WHERE policy IN (SELECT id FROM policies WHERE schema = $1))
    OR EXISTS (SELECT 1 FROM marks WHERE uid IS NULL AND kind = 'shadow')
        AND EXISTS (SELECT 1 FROM policies WHERE schema = $1) AND EXISTS (SELECT 1 FROM rewards)"""


class LedgerPolicies:
    """The registry of one process.

    Args:
        catalogue: what is configured here.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.registry = PolicyRegistry(catalogue)
        self._shadow_set = 0
        self._has_new_memories = False

    @property
    def catalogue(self) -> Catalogue:
        """What is configured here now."""
        return self._catalogue

    def reconfigure(self, catalogue: Catalogue) -> None:
        """Go by other policies, once they are registered."""
        self._catalogue = catalogue
        self.registry.reconfigure(catalogue)

    async def register(self, pool: ConnectionPool, *, anew: bool = False) -> None:
        """Add rows for configured policies that have none, and say under which encodings sums are kept.

        Args:
            pool: of connections that write.
            anew: whether the ledger is another one than before, and its rows have other ids.

        Raises:
            ConfigurationError: a schema has changed under its name.
        """

        async def write(channel: Channel, _: int) -> None:
            session = channel.session
            recorded = dict(await session.fetch("SELECT name, hash FROM schemas"))
            for name, schema in self._catalogue.schemas.items():
                is_changed = name in recorded and recorded[name] != schema.hash
                if is_changed and await session.fetchval(_HAS_SUMS, name):
                    raise ConfigurationError(
                        f"schema {name!r} has changed under the same name, and this ledger has learned under the old "
                        "one: give the new one a new name"
                    )
                if recorded.get(name) != schema.hash:
                    await session.execute(
                        """INSERT INTO schemas (name, hash) VALUES ($1, $2)
                        ON CONFLICT (name) DO UPDATE SET hash = excluded.hash""",
                        name,
                        schema.hash,
                    )
            known = {tuple(row) for row in await session.fetch("SELECT name, hash, schema FROM policies")}
            for policy in self._catalogue.policies.values():
                schema = policy.schema
                if (policy.name, policy.hash, schema.name) not in known:
                    definition = json.dumps(schema.definition)
                    await session.execute(_ADD_POLICY, policy.name, policy.hash, schema.name, schema.hash, definition)

        await pool.transact(write)
        await self.load(pool, anew=anew)

    async def load(self, pool: ConnectionPool, *, anew: bool = False) -> None:
        """Read what the ledger holds; ``anew`` nothing that was read before counts."""
        policies = await pool.fetch(_POLICIES)
        shadows = await pool.fetch(_SHADOWS)
        memories = [parse_memory_change(*row) for row in await pool.fetch(_MEMORIES)]
        before = self._list_memories()
        if anew:
            self.registry.forget()
        self.registry.restore(policies, shadows, memories)
        self._shadow_set = max((row["seq"] for row in shadows), default=0)
        self._has_new_memories |= self._list_memories() != before

    def take_memory_changes(self) -> bool:
        """Whether some policy's rewards count differently since the last call."""
        changed, self._has_new_memories = self._has_new_memories, False
        return changed

    def has_all(self, rows: Iterable[Any]) -> bool:
        """Whether every policy that rows name is known, and so is every set of those in the shadow."""
        refs = self.registry.get_refs()
        return all(
            (row["policy"] is None or row["policy"] in refs) and (row.get("shadow_set") or 0) <= self._shadow_set
            for row in rows
        )

    @property
    def has_shadows(self) -> bool:
        """Whether any policy ever was in the shadow."""
        return self._shadow_set > 0

    def _list_memories(self) -> list[object]:
        return [self.registry.get_memory(name) for name in self._catalogue.policies]
