"""Import: states from elsewhere brought into the ledger as events, all in one commit or none."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from bandstand.bandit.profile import Profile
from bandstand.errors import InvalidRequestError
from bandstand.store.learners import erasure
from bandstand.store.maintenance.export import Source
from bandstand.store.maintenance.offline import State, Tick, no_tick
from bandstand.store.records import Array
from bandstand.store.sqlite.schema import MARK, USER
from bandstand.store.tables import decisions

CLIENT = "command line"
"""Who caused an event that no API key did."""

_SHOWN_FAULTS = 3
_POSITIVE = 1e-9


@dataclass(slots=True)
class Imported:
    """What an import did.

    Attributes:
        users: users imported.
        skipped: sources left out because something is wrong with them, each with its place.
        erased: users left out because they were erased after the state was taken.
        unknown: states kept though their policy or schema is not configured here, by "policy over schema".
    """

    users: int = 0
    skipped: list[str] = field(default_factory=list)
    erased: int = 0
    unknown: dict[str, int] = field(default_factory=dict)


def import_states(
    state: State,
    sources: Iterable[Source],
    *,
    now: float,
    skip_bad: bool = False,
    merge: bool = False,
    tick: Tick = no_tick,
) -> Imported:
    """Bring states into the ledger, all of them in one commit, then write their documents.

    Args:
        state: an owned state directory.
        sources: what to import; consumed once.
        now: seconds since the epoch, for the events.
        skip_bad: leave out sources that are wrong instead of refusing them all.
        merge: keep what other policies have learned about a user; otherwise the import replaces the user's state.
        tick: called for each source.

    Raises:
        InvalidRequestError: something is wrong with a source; nothing was imported.
    """
    arrival = _Arrival(state, now, merge=merge)
    with state.transaction():
        for source in sources:
            arrival.receive(source)
            tick()
        if arrival.imported.skipped and not skip_bad:
            raise InvalidRequestError(_refusal(arrival.imported.skipped))
    for uid, user_id in arrival.arrived:
        with suppress(OSError):  # the ledger has it, and a document can be made at any time
            state.documents.write(state.rebuilt(uid, user_id))
    return arrival.imported


def _refusal(faults: list[str]) -> str:
    more = len(faults) - _SHOWN_FAULTS
    shown = "; ".join(faults[:_SHOWN_FAULTS])
    return f"nothing was imported: {shown}" + (f"; and {more} more" if more > 0 else "")


class _Arrival:
    """Sources arriving in the ledger, inside one transaction."""

    def __init__(self, state: State, now: float, *, merge: bool) -> None:
        self.imported = Imported()
        self.arrived: list[tuple[int, str]] = []
        self._state = state
        self._now = now
        self._merge = merge
        self._secret = state.secret()
        self._sequence = state.sequence()
        self._hashes: dict[str, str] = dict(state.connection.execute("SELECT name, hash FROM schemas"))
        self._places: dict[str, str] = {}

    def receive(self, source: Source) -> None:
        fault = source.fault or self._fault(source)
        if fault or source.profile is None:
            self.imported.skipped.append(f"{source.place}: {fault}")
            return
        profile = source.profile
        if profile.seq <= erasure.buried(self._state.connection, self._secret, profile.user_id):
            self.imported.erased += 1
            return
        self._note_unknown(source)
        self._adopt(profile)

    def _fault(self, source: Source) -> str:
        """What is wrong with a source that could be read; empty for nothing."""
        assert source.profile is not None  # noqa: S101 (a source without a profile has a fault)
        if (earlier := self._places.setdefault(source.profile.user_id, source.place)) != source.place:
            return f"is the same user as {earlier}"
        for name, digest in source.schemas.items():
            if self._hashes.get(name, digest) != digest:
                return f"its schema {name!a} is another encoding than the one here"
        for (policy, name), learned in source.profile.policies.items():
            if learned.ridge is None:
                continue
            shape, schema = learned.ridge.b.shape, self._state.catalogue.schemas.get(name)
            if schema is not None and shape != schema.shape:
                return f"{policy}: {_by(shape)} features, where schema {name} has {_by(schema.shape)}"
            if not positive(learned.ridge.gram):
                return f"{policy}: gram is not positive semi-definite"
        return ""

    def _note_unknown(self, source: Source) -> None:
        assert source.profile is not None  # noqa: S101 (see _fault)
        catalogue = self._state.catalogue
        for policy, schema in source.profile.policies:
            if policy not in catalogue.policies or schema not in catalogue.schemas:
                what = f"{policy} over {schema}"
                self.imported.unknown[what] = self.imported.unknown.get(what, 0) + 1
        for name, digest in source.schemas.items():
            if name not in self._hashes:  # so that a schema configured later under that name is compared with it
                self._hashes[name] = digest
                self._state.connection.execute("INSERT INTO schemas VALUES (?, ?)", (name, digest))

    def _adopt(self, profile: Profile) -> None:
        connection = self._state.connection
        uid = decisions.uid_of(connection, profile.user_id)
        if uid is None:
            uid = connection.execute(f"{USER} (NULL, ?) RETURNING uid", (profile.user_id,)).fetchone()[0]
        elif self._merge:
            profile.policies = self._state.rebuilt(uid, profile.user_id).policies | profile.policies
        profile.seq, profile.reset_seq = self._sequence.next(self._now), 0
        document = json.dumps(profile.to_json(), separators=(",", ":"), allow_nan=False)
        connection.execute(f"{MARK} (?, ?, 'import', ?, ?, ?)", (profile.seq, uid, self._now, CLIENT, document))
        self.imported.users += 1
        self.arrived.append((uid, profile.user_id))


def positive(gram: Array) -> bool:
    """Whether a symmetric matrix, or each of several, is positive semi-definite, to rounding."""
    eigenvalues = np.linalg.eigvalsh(gram)
    return bool(eigenvalues.min() >= -_POSITIVE * max(1.0, float(eigenvalues.max())))


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
