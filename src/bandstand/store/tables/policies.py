"""Every policy definition the ledger has seen: the ids its rows use, and the encodings to read them with."""

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.features import FeatureSchema
from bandstand.bandit.memory import ENDLESS, Memory
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.errors import ConfigurationError
from bandstand.store.records import Array, PolicyRef
from bandstand.store.tables.memories import MemoryChange, list_memory_changes


def to_policy_ref(policy: Policy) -> PolicyRef:
    """What an event stores of a policy."""
    return PolicyRef(policy.name, policy.hash, policy.schema.name, policy.schema.hash)


class PolicyRegistry:
    """Policy rows by id and ids by policy, as of the last :meth:`load`.

    Attributes:
        has_shadow_rows: a policy in the shadow was ever written down for a decision, as far as its owner has noted.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._refs: dict[int, PolicyRef] = {}
        self._ids: dict[tuple[str, str, str], int] = {}  # a renamed schema leaves the policy's hash as it was
        self.has_shadow_rows = False
        self._shadows: list[tuple[int, list[PolicyRef]]] = []  # since which event, in order
        self.reconfigure(catalogue)

    def reconfigure(self, catalogue: Catalogue) -> None:
        """Go by other policies; what the ledger holds is to be read again."""
        self._catalogue = catalogue
        self._schemas: dict[str, FeatureSchema] = dict(catalogue.schemas)
        self._memories = {name: policy.memory for name, policy in catalogue.policies.items()}

    def forget(self) -> None:
        """Know no rows any more: the ledger is another one."""
        self._refs.clear()
        self._ids.clear()
        self._shadows = []
        self.reconfigure(self._catalogue)

    def load(self, connection: sqlite3.Connection) -> None:
        """Read the policy rows; encodings of schemas no longer configured come from the ledger.

        Where such a schema had several forms, the one its sums were last kept under is the one that counts.
        """
        query = """SELECT p.id, p.name, p.hash, p.schema, p.schema_hash, p.schema_definition FROM policies AS p
            LEFT JOIN schemas AS s ON s.name = p.schema ORDER BY p.schema_hash IS s.hash DESC, p.id DESC"""
        marks = connection.execute("SELECT seq, document FROM marks WHERE uid IS NULL AND kind = 'shadow' ORDER BY seq")
        self.restore(connection.execute(query), marks, list_memory_changes(connection))

    def restore(
        self,
        policies: Iterable[Iterable[Any]],
        shadow_marks: Iterable[Iterable[Any]],
        memory_changes: Iterable[MemoryChange],
    ) -> None:
        """Load what a ledger holds.

        Args:
            policies: id, name, hash, schema, schema's hash and definition; of a schema, the form that counts comes
                first.
            shadow_marks: event number, and the ids of who is in the shadow from there on, as a JSON array; in order.
            memory_changes: the oldest first.
        """
        for row_id, name, digest, schema, schema_hash, definition in policies:
            self._refs[row_id] = PolicyRef(name, digest, schema, schema_hash)
            self._ids[name, digest, schema] = row_id
            if schema not in self._schemas:
                self._schemas[schema] = FeatureSchema.parse(schema, json.loads(definition))
        self._shadows = [(seq, [self._refs[row_id] for row_id in json.loads(ids)]) for seq, ids in shadow_marks]
        for change in memory_changes:
            self.record_memory(change)

    def register(self, connection: sqlite3.Connection) -> None:
        """Add rows for configured policies that have none yet."""
        for policy in self._catalogue.policies.values():
            schema = policy.schema
            if (policy.name, policy.hash, schema.name) not in self._ids:
                connection.execute(
                    "INSERT INTO policies (name, hash, schema, schema_hash, schema_definition) VALUES (?, ?, ?, ?, ?)",
                    (policy.name, policy.hash, schema.name, schema.hash, json.dumps(schema.definition)),
                )
        self.load(connection)

    def find_changed_schemas(self, connection: sqlite3.Connection) -> list[str]:
        """Configured schemas whose recorded sums were made under another encoding of the same name."""
        recorded = dict(connection.execute("SELECT name, hash FROM schemas"))
        return [
            name
            for name, schema in self._catalogue.schemas.items()
            if name in recorded and recorded[name] != schema.hash and self._has_updates(connection, name)
        ]

    def record_schemas(self, connection: sqlite3.Connection, names: Iterable[str]) -> None:
        """Record the configured encodings of ``names`` as the ones their sums are kept under."""
        rows = [(name, self._catalogue.schemas[name].hash) for name in names]
        connection.executemany("INSERT OR REPLACE INTO schemas (name, hash) VALUES (?, ?)", rows)

    def require_unchanged(self, connection: sqlite3.Connection) -> None:
        """End start-up where a schema changed under its name.

        Raises:
            ConfigurationError: names the schema and both ways out.
        """
        changed = self.find_changed_schemas(connection)
        if changed:
            message = (
                f"schema {changed[0]!r} has changed under the same name: "
                f"run `bandstand state migrate --schema {changed[0]}`, or give the new one a new name"
            )
            raise ConfigurationError(message)
        recorded = dict(connection.execute("SELECT name, hash FROM schemas"))
        new = [name for name, schema in self._catalogue.schemas.items() if recorded.get(name) != schema.hash]
        self.record_schemas(connection, new)  # nothing to write on a usual start, which a full disk then allows

    def get_id(self, ref: PolicyRef) -> int:
        """The row id of a registered policy."""
        return self._ids[ref.name, ref.hash, ref.schema]

    def get_ref(self, row_id: int) -> PolicyRef:
        """The policy of a row id."""
        return self._refs[row_id]

    def get_shadows(self) -> list[PolicyRef]:
        """The policies in the shadow now."""
        return self._shadows[-1][1] if self._shadows else []

    def find_shadows(self, ref: PolicyRef, seq: int) -> list[PolicyRef]:
        """The policies in the shadow when the event ``seq`` of the policy ``ref`` came; none is its own shadow."""
        index = bisect_right(self._shadows, seq, key=itemgetter(0))
        return [shadow for shadow in self._shadows[index - 1][1] if shadow.name != ref.name] if index else []

    def record_shadows(self, seq: int, policies: Collection[PolicyRef]) -> None:
        """Take note that these policies are in the shadow from the event ``seq`` on."""
        self._shadows.append((seq, list(policies)))

    def get_refs(self) -> Mapping[int, PolicyRef]:
        """Policies by row id."""
        return self._refs

    def get_names(self) -> Mapping[int, str]:
        """Policy names by row id."""
        return {row_id: ref.name for row_id, ref in self._refs.items()}

    def has_matching_shapes(self, profile: Profile) -> bool:
        """Whether the profile's sums have the shapes that the configured schemas give them."""
        schemas = self._catalogue.schemas
        return all(
            state.ridge is None or name not in schemas or state.ridge.b.shape == schemas[name].shape
            for (_, name), state in profile.policies.items()
        )

    def has_matching_memories(self, profile: Profile) -> bool:
        """Whether the profile's sums have decayed, and begin, as the configured policies now have it."""
        return all(
            state.ridge is None
            or name not in self._memories
            or Memory(state.half_life, state.since) == self._memories[name]
            for (name, _), state in profile.policies.items()
        )

    def get_memory(self, policy: str) -> Memory:
        """How much a reward counts for a policy of that name now, whatever it was when the reward came."""
        return self._memories.get(policy, ENDLESS)

    def record_memory(self, change: MemoryChange) -> None:
        """Take note of the memory that an adaptive policy has from now on."""
        policy = self._catalogue.policies.get(change.policy)
        if policy is not None and policy.adapts_memory:
            self._memories[change.policy] = change.memory

    def get_schema(self, ref: PolicyRef) -> FeatureSchema:
        """The policy's encoding."""
        return self._schemas[ref.schema]

    def encode(self, ref: PolicyRef, context: Mapping[str, object], features: Mapping[str, object]) -> Array:
        """The features x, shape (d,), of one candidate under the policy's schema."""
        x: Array = self._schemas[ref.schema].encode(context, [features])[0]
        return x

    def encode_requests(
        self,
        ref: PolicyRef,
        contexts: Sequence[Mapping[str, object]],
        candidates: Sequence[Mapping[str, object]],
    ) -> Array:
        """The features x, shape (n, 1, d), of n requests of one candidate each."""
        return self._schemas[ref.schema].encode_requests(contexts, candidates)

    def _has_updates(self, connection: sqlite3.Connection, schema: str) -> bool:
        in_shadow = any(ref.schema == schema for _, policies in self._shadows for ref in policies)
        query = """SELECT EXISTS (SELECT 1 FROM rewards
                           WHERE ?2 OR policy IN (SELECT id FROM policies WHERE schema = ?1))
                       OR EXISTS (SELECT 1 FROM marks WHERE kind IN ('baseline', 'import'))"""
        return bool(connection.execute(query, (schema, in_shadow)).fetchone()[0])
