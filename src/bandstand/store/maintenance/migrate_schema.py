"""Migration: sums made under one encoding of a schema, made again under another from what the ledger keeps raw."""

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.features import Field
from bandstand.definition import describe_unknown
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.store.learners import replay
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick
from bandstand.store.records import Array, PolicyRef
from bandstand.store.tables.policies import PolicyRegistry


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a migration did, or would do.

    Attributes:
        schemas: the schemas whose encoding is now the configured one; none where nothing had changed.
        users: users whose state was made again.
        rewards: rewards encoded again.
        cold: users of whom some sums start cold, for what made them is no longer in the ledger (a baseline of
            retention, an import); their counters are kept.
    """

    schemas: tuple[str, ...]
    users: int = 0
    rewards: int = 0
    cold: int = 0


def migrate(
    state: OpenedDirectory, names: Collection[str], *, dry_run: bool = False, tick: Tick = no_tick
) -> MigrationResult:
    """Re-encode all sums under the configured form of ``names`` and record it, so that a service starts again.

    The ledger moves in one transaction. Documents hold the old sums, so they go before it commits and come after it: at
    no moment does one lie there that the ledger contradicts.

    Args:
        state: a state directory owned for migrating.
        names: schemas to migrate; one that has not changed is left alone.
        dry_run: change nothing.
        tick: called for each user, twice unless it is a dry run.

    Raises:
        ConfigurationError: a name is no configured schema, or another schema has changed too.
        InvalidRequestError: something in the ledger cannot be encoded under the new form; nothing was changed.
    """
    schemas = state.catalogue.schemas
    for name in names:
        if name not in schemas:
            raise ConfigurationError(f"--schema {name}: {describe_unknown(name, schemas)}")
    changed = state.registry.find_changed_schemas(state.connection)
    if others := [name for name in changed if name not in names]:
        raise ConfigurationError(f"schema {others[0]!r} has changed too: name both in one command")
    if not changed:
        return MigrationResult(())
    registry = _CheckedRegistry(state.catalogue, changed)
    registry.load(state.connection)
    with state.transaction(commit=not dry_run):
        cold = _remove_old_sums(state.connection, changed)
        state.registry.record_schemas(state.connection, changed)
        _require_encodable(state, registry, tick)
        if not dry_run:
            _delete_documents(state)
    if not dry_run:
        _write_documents(state, tick)
    return MigrationResult(tuple(changed), state.count_users(), registry.encoded_rewards, cold)


def _remove_old_sums(connection: sqlite3.Connection, schemas: Collection[str]) -> int:
    """Take the sums of ``schemas`` out of every baseline and import; returns how many users that concerns."""
    users = set()
    kept = "SELECT seq, uid FROM marks WHERE kind IN ('baseline', 'import')"
    for seq, uid in connection.execute(kept).fetchall():
        document = json.loads(connection.execute("SELECT document FROM marks WHERE seq = ?", (seq,)).fetchone()[0])
        old = [entry for entry in document["policies"].values() if entry["schema"] in schemas and entry["ridge"]]
        for entry in old:
            entry["ridge"] = None
        if old:
            text = json.dumps(document, separators=(",", ":"), allow_nan=False)
            connection.execute("UPDATE marks SET document = ? WHERE seq = ?", (text, seq))
            users.add(uid)
    return len(users)


def _require_encodable(state: OpenedDirectory, registry: "_CheckedRegistry", tick: Tick) -> None:
    faults = []
    for uid, user_id in state.iter_users():
        try:
            replay.rebuild_profile(state.connection, registry, uid, user_id)
        except (InvalidRequestError, ValueError) as error:
            faults.append(f"user {user_id!a}: {error}")
        tick()
    if faults:
        raise InvalidRequestError(
            f"nothing was changed: what {len(faults)} users were rewarded for cannot be encoded under the new form "
            f"({faults[0]}); give it a new name instead"
        )


def _delete_documents(state: OpenedDirectory) -> None:
    for _, user_id in state.iter_users():
        state.documents.path(user_id).unlink(missing_ok=True)


def _write_documents(state: OpenedDirectory, tick: Tick) -> None:
    for uid, user_id in state.iter_users():
        profile = state.rebuild_profile(uid, user_id)
        if profile.seq:
            state.documents.write(profile)
        tick()


class _CheckedRegistry(PolicyRegistry):
    """Checks old raw values by the rules of the new fields, as requests are checked."""

    def __init__(self, catalogue: Catalogue, schemas: Collection[str]) -> None:
        super().__init__(catalogue)
        self.encoded_rewards = 0
        self._checked = {name: catalogue.schemas[name] for name in schemas}

    def encode(self, ref: PolicyRef, context: Mapping[str, object], features: Mapping[str, object]) -> Array:
        """The features x, shape (d,), as :meth:`Registry.encode`.

        Raises:
            ValueError: a value is not one that its field takes.
        """
        schema = self._checked.get(ref.schema)
        if schema is not None:
            for fields, values in ((schema.context_fields, context), (schema.candidate_fields, features)):
                for name, field in fields.items():
                    if name in values and not field.is_valid(values[name]):
                        raise ValueError(f"{field.source}.{name} is not {_describe_field(field)}")
            self.encoded_rewards += 1
        return super().encode(ref, context, features)


def _describe_field(field: Field) -> str:
    limits = "" if field.minimum is None else f" from {field.minimum:g}"
    limits += "" if field.maximum is None else f" to {field.maximum:g}"
    return f"of type {field.type}{limits}"
