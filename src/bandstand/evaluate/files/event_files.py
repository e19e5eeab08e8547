"""The days that ``bandstand log export`` wrote, read as the ledger's events.

A reward may come days after its decision, and be taken back later still. So the files are read twice: first the columns
that say which rewards stand in the end, then the events, a page at a time.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from bandstand.bandit.profile import Profile
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.log_table import find_parts
from bandstand.evaluate.files.standing_rewards import RewardColumns, StandingRewards
from bandstand.store.event_files.day_rows import find_midnight
from bandstand.store.event_files.form import Arrow, FileHeader
from bandstand.store.logged_events import PAGE, LoggedDecision, LoggedEvent, LoggedReset, LoggedReward, LoggedState
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
    "held",
    "picked",
    "document",
)


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
        standing: the rewards that stand of what is in these files; found in them if left out.
        until: nothing after this time is read, rewards included; None for all.
    """

    def __init__(
        self, files: Sequence[EventFile], standing: StandingRewards | None = None, until: float | None = None
    ) -> None:
        self._arrow = Arrow.load()
        self.files = tuple(files)
        self._ends = [file.end for file in self.files]
        self._standing = standing
        self._until = math.inf if until is None else until

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open a file, a folder or a pattern as an exported log; None if its first file is not an exported day.

        Raises:
            EvaluationError: a file is damaged, of another form or ledger, or of a day that another one has too.
            ConfigurationError: pyarrow is not installed.
        """
        return cls.open_parts(find_parts(path))

    @classmethod
    def open_parts(cls, parts: Mapping[str, Path], standing: StandingRewards | None = None) -> Self | None:
        """Open files by the names that errors use for them; otherwise as :meth:`open`."""
        if not any(_is_parquet(part) for part in parts.values()):
            return None
        arrow = Arrow.load()
        headers = {name: _find_header(arrow, part) for name, part in parts.items()}
        if not any(isinstance(header, FileHeader) for header in headers.values()):
            return None
        files: dict[str, EventFile] = {}
        ledger = ""
        for name, header in headers.items():
            if not isinstance(header, FileHeader):
                raise EvaluationError(f"{name}: {header}")
            if (twice := files.get(header.day)) is not None:
                raise EvaluationError(f"{name}: is the day {header.day}, as {twice.name} is")
            ledger = ledger or header.ledger
            if header.ledger != ledger:
                raise EvaluationError(f"{name}: is of another ledger than the others")
            files[header.day] = EventFile(name, parts[name], header)
        return cls([files[day] for day in sorted(files)], standing)

    def end_at(self, until: float | None) -> "EventFiles":
        """Return the log as it was at a time; all of it where that is None."""
        return EventFiles(self.files, self._standing, until)

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
            learning: decisions are read without their requests and without their probabilities.

        Raises:
            EvaluationError: a file is damaged; names it.
        """
        standing = self._survey()
        columns = _LEARNED if learning else None
        for file in self.files if files is None else files:
            with _file_errors(self._arrow, file.name), self._arrow.parquet.ParquetFile(file.path) as opened:
                for batch in opened.iter_batches(PAGE, columns=columns, use_threads=False):
                    yield [each for each in _to_events(batch, standing, since) if each.ts <= self._until]

    def select_standing(self, files: Sequence[EventFile]) -> StandingRewards:
        """Return what must be known of the other files of the log to read these alone."""
        standing, seqs = self._survey(), [self._read_columns(file)["seq"] for file in files]
        return standing.select(np.concatenate(seqs) if seqs else np.zeros(0, np.int64))

    def _survey(self) -> StandingRewards:
        if self._standing is None:
            self._standing = StandingRewards.find(map(self._read_rewards, self.files))
        return self._standing

    def _read_rewards(self, file: EventFile) -> RewardColumns:
        columns = self._read_columns(file)
        in_time = columns["ts"] <= self._until
        rewards, revocations = ((columns["kind"] == kind) & in_time for kind in ("reward", "revocation"))
        return RewardColumns(
            columns["seq"][rewards].astype(np.int64),
            columns["decision"][rewards].astype(np.int64),
            ~columns["linked"][rewards].astype(np.bool_),
            columns["reward"][rewards].astype(np.float64),
            columns["revoked"][revocations].astype(np.int64),
        )

    def _count_file(self, file: EventFile, standing: StandingRewards, since: float | None) -> FileCounts:
        columns = self._read_columns(file)
        made = (columns["kind"] == "decision") & (columns["ts"] <= self._until)
        if since is not None:
            made &= (columns["ts"] >= since) & (columns["seq"] >= first_seq_at(since))
        rewarded = ~np.isnan(standing.get_rewards(columns["seq"][made].astype(np.int64)))
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


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError:
        return False  # whoever reads it next says what is wrong


def _find_header(arrow: Arrow, path: Path) -> FileHeader | str:
    """What a file says of itself; or, where it is no day of an exported log, why not."""
    try:
        header = arrow.read_header(path)
    except (OSError, ValueError, KeyError, arrow.core.ArrowException) as error:
        return f"cannot be read: {_describe(error)}"
    return header or "is no day of an exported log, as the others are"


def _describe(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


@contextmanager
def _file_errors(arrow: Arrow, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, arrow.core.ArrowException) as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(f"{name}: cannot be read: {_describe(error)}") from None


def _to_events(batch: Any, standing: StandingRewards, since: float | None) -> list[LoggedEvent]:
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    rewards = standing.get_rewards(np.asarray(columns["seq"], np.int64)).tolist()
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
            events.append(LoggedState(seq, uid, ts, profile) if kind == "state" else LoggedState(0, uid, 0.0, profile))
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
