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
from bandstand.bandit.profile import PolicyState, Profile
from bandstand.errors import StorageUnavailableError
from bandstand.store.learners import documents, erasure, replay
from bandstand.store.learners.documents import DocumentError
from bandstand.store.maintenance.offline import State, Tick, no_tick, observed
from bandstand.store.records import Array, time_of
from bandstand.store.sqlite.errors import sqlite_code
from bandstand.store.tables import decisions

TOLERANCE = 1e-9
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_EQUAL, _SUPERSEDED, _GONE = _GOOD = ("equal", "superseded", "gone")
_LOOKS = 3
"""How often a fault is looked at again before it is believed: a service may be moving the files meanwhile."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        users: users of the ledger.
        documents: documents written; a user without one event that counts has none.
        set_aside: torn and foreign files, and those ahead of the ledger, moved into quarantine.
        discarded: documents of users erased since, deleted.
        baselines: users rebuilt from the state that retention kept, for their earlier events are gone.
        reaches_back: time of the newest of those baselines, in seconds since the epoch; ``None`` where every event is
            still there.
    """

    users: int
    documents: int
    set_aside: int
    discarded: int
    baselines: int
    reaches_back: float | None


def rebuild(state: State, tick: Tick = no_tick) -> Rebuilt:
    """Replay the ledger into a document for every user; what cannot be trusted among the old ones is set aside."""
    users = baselines = newest = set_aside = 0
    written: set[Path] = set()
    for uid, user_id in state.users():
        start = replay.baseline(state.connection, uid)
        if start is not None:
            baselines += 1
            newest = max(newest, start.seq)
        profile = replay.caught_up(state.connection, state.registry, uid, start or Profile(user_id))
        if profile.seq:
            set_aside += _set_aside_old(state, profile)
            state.documents.write(profile)
            written.add(state.documents.path(user_id))
        users += 1
        tick()
    strays, discarded = _clear(state, written)
    reaches_back = time_of(newest) if baselines else None
    return Rebuilt(users, len(written), set_aside + strays, discarded, baselines, reaches_back)


def _set_aside_old(state: State, profile: Profile) -> bool:
    """Keep a torn document, or one that knows more than the ledger, for a person to look at."""
    try:
        document = state.documents.read(profile.user_id)
        if document is None or document.seq <= profile.seq:
            return False
    except DocumentError:
        pass  # torn or foreign
    state.documents.set_aside(profile.user_id)
    return True


def _clear(state: State, written: set[Path]) -> tuple[int, int]:
    """Take away what is no known user's document: (set aside, discarded)."""
    set_aside = discarded = 0
    secret = state.secret()
    for path in state.documents.paths():
        if path in written:
            continue
        if _is_buried(state, secret, path):
            path.unlink()
            discarded += 1
        else:
            state.documents.quarantine(path)
            set_aside += 1
    return set_aside, discarded


def _is_buried(state: State, secret: bytes, path: Path) -> bool:
    try:
        profile = documents.parse(path.read_bytes())
    except DocumentError:
        return False
    return profile.seq <= erasure.buried(state.connection, secret, profile.user_id)


@dataclass(frozen=True, slots=True)
class Fault:
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
    faults: list[Fault] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether there is nothing to repair."""
        return not self.damage and not self.faults


def verify(state_dir: Path, catalogue: Catalogue, tick: Tick = no_tick) -> Verification:
    """Check the ledger's file, and every document against the ledger; a service may go on meanwhile.

    A document is the state as of its ``ledger_seq``: counters must be equal to the ledger's of that moment, and sums
    within 1e-9·(1 + |sum|).

    Raises:
        ConfigurationError, StorageUnavailableError: as :func:`bandstand.store.maintenance.offline.observed`.
    """
    found = Verification()
    try:
        with observed(state_dir, catalogue) as state:
            found.damage = [str(row[0]) for row in state.connection.execute("PRAGMA quick_check") if row[0] != "ok"]
            if not found.damage:
                _compare(state, found, tick)
    except StorageUnavailableError as error:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.Error) or sqlite_code(cause) not in _DAMAGE:
            raise
        found.damage.append(str(cause))
    return found


def _compare(state: State, found: Verification, tick: Tick) -> None:
    found.quarantined = len(state.documents.quarantined_paths())
    present = set()
    for path in state.documents.paths():
        present.add(path)
        outcome = _examined(state, path)
        if outcome == _EQUAL:
            found.equal += 1
        elif outcome == _SUPERSEDED:
            found.superseded += 1
        elif outcome != _GONE:
            found.faults.append(Fault(str(path.relative_to(state.directory)), outcome))
        tick()
    for _, user_id in state.users():
        found.users += 1
        found.missing += state.documents.path(user_id) not in present


def _examined(state: State, path: Path) -> str:
    """One of the three good outcomes, or what is wrong with the document."""
    outcome = _GONE
    for _ in range(_LOOKS):
        try:
            outcome = _outcome(state, path)
        except (DocumentError, UnicodeEncodeError) as error:
            outcome = str(error)
        if outcome in _GOOD:
            break
        state.registry.load(state.connection)  # a service that has just started may have brought new policies
    return outcome


def _outcome(state: State, path: Path) -> str:
    try:
        document = documents.parse(path.read_bytes())  # before the ledger is asked, so that it can only be behind
    except FileNotFoundError:
        return _GONE
    user_id = document.user_id
    if state.documents.path(user_id) != path:
        return "is not where that user's document belongs"
    with state.snapshot():
        uid = decisions.uid_of(state.connection, user_id)
        if uid is None:
            buried = document.seq <= erasure.buried(state.connection, state.secret(), user_id)
            return "belongs to a user erased since" if buried else "belongs to nobody the ledger knows"
        start = replay.baseline(state.connection, uid)
        if start is not None and document.seq <= start.seq:
            return _SUPERSEDED
        if not replay.holds(state.connection, uid, document.seq):
            return "knows events that the ledger does not"
        truth = replay.caught_up(state.connection, state.registry, uid, start or Profile(user_id), document.seq)
    return difference(document, truth) or _EQUAL


def difference(document: Profile, truth: Profile) -> str | None:
    """The first way in which two profiles of one user differ by more than the tolerance, in words."""
    if document.reset_seq != truth.reset_seq:
        return "remembers another reset than the ledger"
    for key in document.policies.keys() ^ truth.policies.keys():
        return f"{key[0]}: only {'the document' if key in document.policies else 'the ledger'} has it"
    for key, state in document.policies.items():
        for name in _differences(state, truth.policies[key]):
            return f"{key[0]}: {name} differs from the ledger's"
    return None


def _differences(state: PolicyState, truth: PolicyState) -> Iterator[str]:
    counters = ("pulls", "explores", "reward_count", "last_updated")
    yield from (name for name in counters if getattr(state, name) != getattr(truth, name))
    if not _near(state.cumulative_reward, truth.cumulative_reward):
        yield "cumulative_reward"
    if state.ridge is None or truth.ridge is None:
        if state.ridge is not truth.ridge:
            yield "ridge"
        return
    if state.ridge.b.shape != truth.ridge.b.shape or state.ridge.count != truth.ridge.count:
        yield "ridge"
        return
    for name in ("gram", "b", "rr", "weight"):
        if not _near(getattr(state.ridge, name), getattr(truth.ridge, name)):
            yield name


def _near(value: Array | float | None, truth: Array | float | None) -> bool:
    if value is None or truth is None:
        return value is truth
    return bool(np.allclose(value, truth, rtol=TOLERANCE, atol=TOLERANCE))
