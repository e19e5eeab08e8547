"""Checkpoints against the ledger: documents made again from it, or compared with it.

The ledger is the truth and a document a copy of one moment of it, so a missing or late one is no fault: what a
document says of its own moment must be what the ledger says of it.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.errors import StorageUnavailableError
from bandstand.store.learners import documents, erasure, event_times, replay
from bandstand.store.learners.documents import DocumentError
from bandstand.store.maintenance.offline import OpenedDirectory, Tick, no_tick, open_read_only
from bandstand.store.records import Array, to_time
from bandstand.store.sqlite.errors import get_sqlite_code
from bandstand.store.sqlite.user_levels import count_unfound
from bandstand.store.tables import decisions

TOLERANCE = 1e-9
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_EQUAL, _SUPERSEDED, _GONE = _GOOD_OUTCOMES = ("equal", "superseded", "gone")
_MAX_CHECKS = 3
"""How often a fault is looked at again before it is believed: a service may be moving the files meanwhile."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What a rebuild did.

    Attributes:
        users: users of the ledger.
        documents: documents written; a user without one event that counts has none.
        set_aside: torn and foreign files, and those ahead of the ledger, moved into quarantine.
        discarded: documents of users erased since, deleted.
        baselines: users rebuilt from the state that retention kept, for their earlier events are gone.
        reaches_back: time of the newest of those baselines, in seconds since the epoch; ``None`` if every event is
            still there.
    """

    users: int
    documents: int
    set_aside: int
    discarded: int
    baselines: int
    reaches_back: float | None


def rebuild_documents(state: OpenedDirectory, tick: Tick = no_tick) -> RebuildResult:
    """Replay the ledger into a document for every user; what cannot be trusted among the old ones is set aside."""
    users = baselines = newest = set_aside = 0
    written: set[Path] = set()
    for uid, user_id in state.iter_users():
        start = replay.load_baseline(state.connection, uid)
        if start is not None:
            baselines += 1
            newest = max(newest, start.seq)
        profile = replay.replay_events(state.connection, state.registry, uid, start or Profile(user_id))
        if profile.seq:
            set_aside += _set_aside_untrusted(state, profile)
            state.documents.write(profile)
            written.add(state.documents.path(user_id))
        users += 1
        tick()
    strays, discarded = _remove_strays(state, written)
    reaches_back = to_time(newest) if baselines else None
    return RebuildResult(users, len(written), set_aside + strays, discarded, baselines, reaches_back)


def _set_aside_untrusted(state: OpenedDirectory, profile: Profile) -> bool:
    """Set aside a torn document, or one that is ahead of the ledger, for a person to look at."""
    try:
        document = state.documents.read(profile.user_id)
        if document is None or document.seq <= profile.seq:
            return False
    except DocumentError:
        pass  # torn or foreign
    state.documents.set_aside(profile.user_id)
    return True


def _remove_strays(state: OpenedDirectory, written: set[Path]) -> tuple[int, int]:
    """Take away what is no known user's document: (set aside, discarded)."""
    set_aside = discarded = 0
    secret = state.read_secret()
    for path in state.documents.iter_paths():
        if path in written:
            continue
        if _is_tombstoned(state, secret, path):
            path.unlink()
            discarded += 1
        else:
            state.documents.quarantine_file(path)
            set_aside += 1
    return set_aside, discarded


def _is_tombstoned(state: OpenedDirectory, secret: bytes, path: Path) -> bool:
    try:
        profile = documents.parse(path.read_bytes())
    except DocumentError:
        return False
    return profile.seq <= erasure.find_tombstone_seq(state.connection, secret, profile.user_id)


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """A document that does not say what the ledger says: its file, and why not."""

    path: str
    reason: str


@dataclass(slots=True)
class Verification:
    """What a comparison of the documents with the ledger found.

    Attributes:
        damage: what is wrong with the ledger's file itself; the documents are then not compared.
        users: users of the ledger.
        equal: documents that say what the ledger says.
        superseded: documents older than the baseline that retention kept: their own moment is gone, and a load starts
            from the baseline.
        missing: users without a document; the ledger has their state.
        quarantined: files set aside earlier.
        faults: documents that cannot be trusted.
    """

    damage: list[str] = field(default_factory=list)
    users: int = 0
    equal: int = 0
    superseded: int = 0
    missing: int = 0
    quarantined: int = 0
    faults: list[DocumentFault] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing to repair."""
        return not self.damage and not self.faults


def verify(state_dir: Path, catalogue: Catalogue, tick: Tick = no_tick) -> Verification:
    """Check the ledger's file, and every document against the ledger; a service may run meanwhile.

    A document is the state as of its ``ledger_seq``: counters must be equal to the ledger's of that moment, and sums
    within 1e-9·(1 + |sum|).

    Raises:
        ConfigurationError, StorageUnavailableError: as :func:`bandstand.store.maintenance.offline.open_read_only`.
    """
    found = Verification()
    try:
        with open_read_only(state_dir, catalogue) as state:
            found.damage = [str(row[0]) for row in state.connection.execute("PRAGMA quick_check") if row[0] != "ok"]
            if unfound := 0 if found.damage else count_unfound(state.connection):
                found.damage = [f"{unfound} decisions or rewards are not what is found by user"]
            if not found.damage:
                _compare(state, found, tick)
    except StorageUnavailableError as error:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.Error) or get_sqlite_code(cause) not in _DAMAGE:
            raise
        found.damage.append(str(cause))
    return found


def _compare(state: OpenedDirectory, found: Verification, tick: Tick) -> None:
    found.quarantined = len(state.documents.list_quarantined())
    present = set()
    for path in state.documents.iter_paths():
        present.add(path)
        outcome = _check_document(state, path)
        if outcome == _EQUAL:
            found.equal += 1
        elif outcome == _SUPERSEDED:
            found.superseded += 1
        elif outcome != _GONE:
            found.faults.append(DocumentFault(str(path.relative_to(state.directory)), outcome))
        tick()
    for _, user_id in state.iter_users():
        found.users += 1
        found.missing += state.documents.path(user_id) not in present


def _check_document(state: OpenedDirectory, path: Path) -> str:
    """One of the three good outcomes, or what is wrong with the document."""
    outcome = _GONE
    for _ in range(_MAX_CHECKS):
        try:
            outcome = _compare_document(state, path)
        except (DocumentError, UnicodeEncodeError) as error:
            outcome = str(error)
        if outcome in _GOOD_OUTCOMES:
            break
        state.registry.load(state.connection)  # a service that has just started may have brought new policies
    return outcome


def _compare_document(state: OpenedDirectory, path: Path) -> str:
    try:
        document = documents.parse(path.read_bytes())  # before the ledger is asked, so that it can only be behind
    except FileNotFoundError:
        return _GONE
    user_id = document.user_id
    if state.documents.path(user_id) != path:
        return "is not where that user's document belongs"
    with state.snapshot():
        uid = decisions.find_uid(state.connection, user_id)
        if uid is None:
            tombstoned = document.seq <= erasure.find_tombstone_seq(state.connection, state.read_secret(), user_id)
            return "belongs to a user erased since" if tombstoned else "belongs to nobody the ledger knows"
        start = replay.load_baseline(state.connection, uid)
        trimmed = start is not None and document.seq <= start.seq
        ahead = event_times.is_dated_ahead(state.connection, uid, document) or erasure.has_parting_since(
            state.connection, uid, document.seq
        )
        if trimmed or ahead or not state.registry.has_matching_memories(document):
            return _SUPERSEDED  # where what counts has changed since, users are read from the ledger when they are met
        if not replay.has_event(state.connection, uid, document.seq):
            return "knows events that the ledger does not"
        truth = replay.replay_events(state.connection, state.registry, uid, start or Profile(user_id), document.seq)
    return find_difference(document, truth) or _EQUAL


def find_difference(document: Profile, truth: Profile) -> str | None:
    """The first way in which two profiles of one user differ by more than the tolerance, in words."""
    if document.reset_seq != truth.reset_seq:
        return "remembers another reset than the ledger"
    for key in document.policies.keys() ^ truth.policies.keys():
        return f"{key[0]}: only {'the document' if key in document.policies else 'the ledger'} has it"
    for key, state in document.policies.items():
        for name in _find_differing_fields(state, truth.policies[key]):
            return f"{key[0]}: {name} differs from the ledger's"
    return None


def _find_differing_fields(state: PolicyState, truth: PolicyState) -> Iterator[str]:
    counters = ("pulls", "explores", "reward_count", "last_updated")
    yield from (name for name in counters if getattr(state, name) != getattr(truth, name))
    if not _is_close(state.cumulative_reward, truth.cumulative_reward):
        yield "cumulative_reward"
    if state.ridge is None or truth.ridge is None:
        if state.ridge is not truth.ridge:
            yield "ridge"
        return
    if state.ridge.b.shape != truth.ridge.b.shape or state.ridge.count != truth.ridge.count:
        yield "ridge"
        return
    for name in ("gram", "b", "rr", "weight"):
        if not _is_close(getattr(state.ridge, name), getattr(truth.ridge, name)):
            yield name


def _is_close(value: Array | float | None, truth: Array | float | None) -> bool:
    if value is None or truth is None:
        return value is truth
    return bool(np.allclose(value, truth, rtol=TOLERANCE, atol=TOLERANCE))
