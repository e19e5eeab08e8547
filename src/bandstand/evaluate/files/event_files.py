"""The days that ``bandstand log export`` wrote, read as the ledger's events.

A reward may come days after its decision, and be taken back later still. So the files are read twice: first the columns
that say which rewards stand in the end, then the events, a page at a time.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.bandit.profile import Profile
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.logged_rows import FloatArray
from bandstand.evaluate.files.log_table import find_parts
from bandstand.store.event_files.day_reader import find_midnight
from bandstand.store.event_files.form import Arrow, FileHeader
from bandstand.store.maintenance.decision_log import (
    PAGE,
    LoggedDecision,
    LoggedEvent,
    LoggedReset,
    LoggedReward,
    LoggedState,
)
from bandstand.store.records import first_seq_at

_PARQUET: Final = b"PAR1"
_SURVEYED: Final = ("kind", "seq", "ts", "decision", "linked", "applied", "reward", "revoked", "held")
_LEARNED: Final = (
    "kind",
    "seq",
    "uid",
    "ts",
    "reward",
    "weight",
    "decision",
    "legacy",
    "applied",
    "picked",
    "document",
)

_Numbers = NDArray[np.int64]


class EventFile(NamedTuple):
    """One file.

    Attributes:
        name: what errors call it.
        path: where it is.
        header: whose events it holds.
    """

    name: str
    path: Path
    header: FileHeader

    @property
    def end(self) -> int:
        """The number before which its events are."""
        return first_seq_at(find_midnight(self.header.date + timedelta(days=1)))


class StandingRewards:
    """Which rewards stand at the end of a log, and of which decisions.

    One that names its decision is surer than a link; of several, the last. One that was taken back never stood.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[_Numbers, _Numbers, _Numbers, FloatArray]] = []
        self._revoked: list[_Numbers] = []
        self.revoked: frozenset[int] = frozenset()
        self._decision: _Numbers = np.zeros(0, np.int64)
        self._value: FloatArray = np.zeros(0)

    def add(self, seq: _Numbers, decision: _Numbers, named: _Numbers, value: FloatArray, revoked: _Numbers) -> None:
        """Take in rewards, (n,) each, and the numbers of rewards that were taken back, (m,)."""
        self._parts.append((seq, decision, named, value))
        self._revoked.append(revoked)

    def settle(self) -> None:
        """Find what stands, of all that was taken in."""
        columns = (
            [np.concatenate(each) for each in zip(*self._parts, strict=True)] if self._parts else [np.zeros(0)] * 4
        )
        gone = np.concatenate(self._revoked) if self._revoked else np.zeros(0, np.int64)
        self.revoked = frozenset(gone.tolist())
        stands = ~np.isin(columns[0], gone)
        seq, decision, named, value = (column[stands] for column in columns)
        order = np.lexsort((seq, named, decision))
        decision, value = decision[order], value[order]
        last = np.append(decision[1:] != decision[:-1], True)[: len(decision)]
        self._decision, self._value = decision[last].astype(np.int64), value[last].astype(np.float64)
        self._parts.clear()

    def find(self, decisions: _Numbers) -> FloatArray:
        """The reward of each decision, (n,); NaN where none stands."""
        if not len(self._decision):
            return np.full(len(decisions), np.nan)
        places = np.minimum(np.searchsorted(self._decision, decisions), len(self._decision) - 1)
        found: FloatArray = np.where(self._decision[places] == decisions, self._value[places], np.nan)
        return found


@dataclass(slots=True)
class FileCounts:
    """What is in a file.

    Attributes:
        decisions: that count as made.
        rewarded: of them, those that a reward stands of.
    """

    decisions: int
    rewarded: int


class EventFiles:
    """An exported log.

    Args:
        files: its days, in order.
    """

    def __init__(self, files: Sequence[EventFile]) -> None:
        self._arrow = Arrow.load()
        self.files = tuple(files)
        self._ends = [file.end for file in self.files]
        self._standing = StandingRewards()
        self._is_surveyed = False

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open a file, a folder or a pattern as an exported log; None where its first file is none.

        Raises:
            EvaluationError: a file is damaged, of another form or ledger, or of a day that another one has too.
            ConfigurationError: pyarrow is not installed.
        """
        parts = find_parts(path)
        first = next(iter(parts.values()))
        try:
            with first.open("rb") as file:
                if file.read(len(_PARQUET)) != _PARQUET:
                    return None
        except OSError as error:
            raise EvaluationError(error.strerror or str(error)) from None
        arrow = Arrow.load()
        files: dict[str, EventFile] = {}
        ledger = ""
        for name, part in parts.items():
            with _file_errors(arrow, name if len(parts) > 1 else ""):
                header = arrow.read_header(part)
            if header is None and not files:
                return None
            if header is None:
                raise EvaluationError(f"{name}: is no day of an exported log, as the others are")
            if (twice := files.get(header.day)) is not None:
                raise EvaluationError(f"{name}: is the day {header.day}, as {twice.name} is")
            ledger = ledger or header.ledger
            if header.ledger != ledger:
                raise EvaluationError(f"{name}: is of another ledger than the others")
            files[header.day] = EventFile(name, part, header)
        return cls([files[day] for day in sorted(files)])

    def format_location(self, seq: int) -> str:
        """Say which event an error is about."""
        place = min(bisect_right(self._ends, seq), len(self.files) - 1)
        return f"event {seq} of {self.files[place].name}"

    def count_decisions(self, since: float | None = None) -> list[FileCounts]:
        """What is in each file, of decisions from ``since`` on."""
        standing = self._survey()
        return [self._count_file(file, standing, since) for file in self.files]

    def read_events(
        self, files: Sequence[EventFile] | None = None, *, since: float | None = None, learning: bool = False
    ) -> Iterator[list[LoggedEvent]]:
        """Read the events in order, a page at a time.

        Args:
            files: of these files; of all if left out.
            since: decisions before this time are left out; what they taught is not.
            learning: decisions are read without what was asked and without their probabilities.

        Raises:
            EvaluationError: a file is damaged; names it.
        """
        standing = self._survey()
        columns = _LEARNED if learning else None
        for file in self.files if files is None else files:
            with _file_errors(self._arrow, file.name), self._arrow.parquet.ParquetFile(file.path) as opened:
                for batch in opened.iter_batches(PAGE, columns=columns, use_threads=False):
                    yield _to_events(batch, standing, since)

    def _survey(self) -> StandingRewards:
        standing = self._standing
        if not self._is_surveyed:
            for file in self.files:
                columns = self._read_columns(file)
                rewards = columns["kind"] == "reward"
                standing.add(
                    *(columns[name][rewards].astype(np.int64) for name in ("seq", "decision")),
                    (~columns["linked"][rewards].astype(bool)).astype(np.int64),
                    columns["reward"][rewards].astype(np.float64),
                    columns["revoked"][columns["kind"] == "revocation"].astype(np.int64),
                )
            standing.settle()
            self._is_surveyed = True
        return standing

    def _count_file(self, file: EventFile, standing: StandingRewards, since: float | None) -> FileCounts:
        columns = self._read_columns(file)
        made = columns["kind"] == "decision"
        if since is not None:
            made &= (columns["ts"] >= since) & (columns["seq"] >= first_seq_at(since))
        rewarded = ~np.isnan(standing.find(columns["seq"][made].astype(np.int64)))
        counted = rewarded | ~columns["held"][made].astype(bool)
        return FileCounts(int(counted.sum()), int((counted & rewarded).sum()))

    def _read_columns(self, file: EventFile) -> dict[str, Any]:
        """Columns of a whole file as arrays; −1 where a number of an event is null, false where a truth is."""
        arrow, found = self._arrow, dict[str, Any]()
        with _file_errors(arrow, file.name):
            table = arrow.parquet.read_table(file.path, columns=list(_SURVEYED), use_threads=False, partitioning=None)
            for name in _SURVEYED:
                column = table.column(name)
                if name == "kind":
                    column = column.cast(arrow.core.string())
                elif name in {"linked", "applied", "held"}:
                    column = arrow.compute.fill_null(column, fill_value=False)
                elif name in {"decision", "revoked"}:
                    column = arrow.compute.fill_null(column, -1)
                found[name] = column.to_numpy()
        return found


@contextmanager
def _file_errors(arrow: Arrow, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, arrow.core.ArrowException) as error:
        if isinstance(error, EvaluationError):
            raise
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise EvaluationError(f"{name}: cannot be read: {reason}" if name else f"cannot be read: {reason}") from None


def _to_events(batch: Any, standing: StandingRewards, since: float | None) -> list[LoggedEvent]:
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    rewards = standing.find(np.asarray(columns["seq"], np.int64)).tolist()
    first = 0 if since is None else first_seq_at(since)
    events: list[LoggedEvent] = []
    for row, (kind, reward) in enumerate(zip(columns["kind"], rewards, strict=True)):
        seq, uid, ts = columns["seq"][row], columns["uid"][row], columns["ts"][row]
        if kind == "decision":
            is_early = since is not None and (seq < first or ts < since)
            is_held = reward != reward and "held" in columns and columns["held"][row]  # noqa: PLR0124 (NaN)
            if not (is_early or is_held):
                events.append(_to_decision(columns, row, None if reward != reward else reward))  # noqa: PLR0124 (NaN)
        elif kind == "reward":
            if columns["applied"][row] and seq not in standing.revoked:
                events.append(_to_reward(columns, row))
        elif kind == "reset":
            events.append(LoggedReset(seq, uid, ts))
        elif kind in {"state", "baseline"}:
            profile = Profile.from_json(json.loads(columns["document"][row]))
            events.append(LoggedState(*((seq, uid, ts) if kind == "state" else (0, uid, 0.0)), profile))
    return events


def _to_decision(columns: dict[str, list[Any]], row: int, reward: float | None) -> LoggedDecision:
    seq, uid, ts = columns["seq"][row], columns["uid"][row], columns["ts"][row]
    if "request" not in columns:
        return LoggedDecision(seq, uid, "", ts, 0.0, 0, 1.0, np.zeros(0), b"", reward)
    return LoggedDecision(
        seq=seq,
        uid=uid,
        policy=columns["policy"][row],
        ts=ts,
        seed=columns["seed"][row],
        pick=columns["pick"][row],
        propensity=columns["propensity"][row],
        probabilities=np.array(columns["probabilities"][row], np.float64),
        body=columns["request"][row].encode(),
        reward=reward,
        means=np.array(columns["means"][row], np.float64),
    )


def _to_reward(columns: dict[str, list[Any]], row: int) -> LoggedReward:
    return LoggedReward(
        seq=columns["seq"][row],
        uid=columns["uid"][row],
        ts=columns["ts"][row],
        value=columns["reward"][row],
        weight=columns["weight"][row],
        decision_seq=None if columns["legacy"][row] else columns["decision"][row],
        pick=0,
        body=columns["picked"][row].encode(),
    )
