"""What a file of events holds: its columns, and how it says whose and which day it is."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from bandstand.bandit.arrays import FloatArray
from bandstand.errors import ConfigurationError

SUFFIX: Final = ".parquet"
VERSION: Final = 1
METADATA_KEY: Final = b"bandstand.events"


class EventRow(NamedTuple):
    """One event, as a row; what an event of its kind has not is null.

    Attributes:
        kind: ``decision``, ``reward``, ``revocation``, ``reset``, ``state`` (which replaces what was learned), or
            ``baseline`` (a state from before the first day).
        seq: the event's number, by which events are ordered; a baseline covers all events up to it.
        uid: the ledger's key of the user whose model it moves.
        user: keyed hash of whom it is about, by which an erasure finds it; the files name nobody.
        ts: seconds since the epoch.
        policy: of a decision, who made it.
        seed: its draw, in [0, 1).
        pick: index of the picked candidate.
        propensity: probability with which it was picked.
        probabilities: of each candidate.
        means: what the policy expected of each.
        request: JSON: ``context``, ``candidates`` and whatever else the request had, but for the caller's ids.
        held: it was held back as the file was written.
        reward: of a decision, the reward that stood as the file was written; of a reward, its value.
        weight: of a reward.
        decision: the number of the decision that it is for.
        linked: nobody named that decision; the legacy form was linked to it.
        legacy: its features came with it.
        applied: it taught; otherwise a reset came between, and it counts without teaching.
        picked: JSON: a request with the rewarded candidate alone.
        revoked: of a revocation, the number of the reward that it takes back.
        document: JSON: a state.
    """

    kind: str
    seq: int
    uid: int
    user: str
    ts: float
    policy: str | None = None
    seed: float | None = None
    pick: int | None = None
    propensity: float | None = None
    probabilities: Sequence[float] | FloatArray | None = None
    means: Sequence[float] | FloatArray | None = None
    request: str | None = None
    held: bool | None = None
    reward: float | None = None
    weight: float | None = None
    decision: int | None = None
    linked: bool | None = None
    legacy: bool | None = None
    applied: bool | None = None
    picked: str | None = None
    revoked: int | None = None
    document: str | None = None


_TYPES: Final = MappingProxyType(
    dict.fromkeys(("seq", "uid", "decision", "revoked"), "int64")
    | dict.fromkeys(("ts", "seed", "propensity", "reward", "weight"), "float64")
    | dict.fromkeys(("held", "linked", "legacy", "applied"), "bool_")
    | {"pick": "int32"}
)
_NAMES: Final = frozenset({"kind", "policy"})
_LISTS: Final = frozenset({"probabilities", "means"})


class FileHeader(NamedTuple):
    """What a file of events says of itself.

    Attributes:
        ledger: keyed hash of the ledger, the same for all of its days.
        day: whose events they are (UTC), as YYYY-MM-DD.
    """

    ledger: str
    day: str

    @property
    def date(self) -> date:
        """The day."""
        return date.fromisoformat(self.day)

    def to_metadata(self) -> dict[bytes, bytes]:
        """The header as a file's metadata."""
        return {METADATA_KEY: json.dumps({"version": VERSION, **self._asdict()}).encode()}


class Arrow(NamedTuple):
    """What is used of pyarrow, which ships no types."""

    core: Any
    parquet: Any
    compute: Any

    @classmethod
    def load(cls) -> "Arrow":
        """Import it: nothing else needs it, and it need not be installed.

        Raises:
            ConfigurationError: it is not installed.
        """
        try:
            import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 (optional, and slow to import)
            from pyarrow import compute, parquet  # noqa: PLC0415 (as above)
        except ImportError:
            raise ConfigurationError("Parquet needs pyarrow: pip install 'bandstand[parquet]'") from None
        return cls(pa, parquet, compute)

    def build_schema(self, header: FileHeader) -> Any:
        """The columns of a file, with its header."""
        pa = self.core

        def find_type(name: str) -> Any:
            if name in _TYPES:
                return getattr(pa, _TYPES[name])()
            if name in _LISTS:
                return pa.list_(pa.float64())
            return pa.dictionary(pa.int32(), pa.string()) if name in _NAMES else pa.string()

        return pa.schema([(name, find_type(name)) for name in EventRow._fields], header.to_metadata())

    def build_table(self, rows: Sequence[EventRow], schema: Any) -> Any:
        """Rows as columns."""
        columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
        arrays = [self.core.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        return self.core.Table.from_arrays(arrays, schema=schema)

    def read_header(self, path: Path) -> FileHeader | None:
        """What a file says of itself; None if it is no file of events.

        Raises:
            ValueError: it is one, of a version that this build does not read.
            OSError: it cannot be read.
            ArrowException: it is no Parquet, or not all of one.
        """
        metadata = self.parquet.read_schema(path).metadata or {}
        if METADATA_KEY not in metadata:
            return None
        document = json.loads(metadata[METADATA_KEY])
        if document["version"] != VERSION:
            raise ValueError(f"it is of version {document['version']}; this build reads {VERSION}")
        return FileHeader(str(document["ledger"]), str(document["day"]))
