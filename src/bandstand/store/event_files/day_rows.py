"""The events of one day as rows of a file: what an engine reads of its ledger, and what is made of that."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from bandstand.store.event_files.form import EventRow
from bandstand.store.learners.erasure import compute_tombstone
from bandstand.store.records import first_seq_at, to_time
from bandstand.store.sqlite.packing import unpack_body

PAGE: Final = 2000
"""Most events of one kind in a page, and rows of a file's group."""
_IDS: Final = ("user_id", "decision_id")
"""What a caller names, and may name people by."""

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_MAX_PICKS: Final = 5_000
"""Picks remembered until their reward comes, which spares reading the request again."""


class Baselines(NamedTuple):
    """What retention has taken, as the states that stand for it.

    Attributes:
        rows: one a user, of kind ``baseline``.
        kept_until: by user, the event up to which everything is in the state.
    """

    rows: list[EventRow]
    kept_until: dict[int, int]


class DayReader(ABC):
    """Reads days of a ledger, a page at a time, each in a transaction of its own.

    Args:
        secret: the ledger's, by which users are named.

    Attributes:
        secret: as above.
    """

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._users: dict[str, str] = {}
        self._picks: dict[int, dict[str, Any]] = {}  # by decision

    @abstractmethod
    def read_tombstones(self) -> dict[bytes, int]:
        """Everybody who was erased, by keyed hash: the number of their last erasure."""

    @abstractmethod
    def find_first_seq(self) -> int | None:
        """The number of the first event; None if there is none."""

    @abstractmethod
    def read_baselines(self) -> Baselines:
        """Read the states that stand for events that are gone."""

    @abstractmethod
    def read_page(self, after: int, last: int, baselines: Baselines) -> tuple[int, list[EventRow]]:
        """Read events numbered above ``after``, in no order, and up to which number these are all that there are.

        Args:
            after: number of an event.
            last: none with a higher number is read.
            baselines: what they stand for is left out.
        """

    @abstractmethod
    def refresh(self) -> None:
        """Take up policies that are newer than the reader."""

    def find_first_day(self) -> date | None:
        """The day of the first event; None if there is none."""
        first = self.find_first_seq()
        return None if first is None else datetime.fromtimestamp(to_time(first), UTC).date()

    def read_day(self, day: date, baselines: Baselines, *, is_first: bool) -> Iterator[list[EventRow]]:
        """Read a day's events, in order, a page at a time.

        What retention has taken before anybody wrote it down is a state in its place: on the first day of all before
        everything, on later ones where it ends.
        """
        self.refresh()
        self._users.clear()
        first, last = (first_seq_at(find_midnight(each)) - 1 for each in (day, day + timedelta(days=1)))
        if is_first:
            yield baselines.rows
        taken = [] if is_first else [row for row in baselines.rows if first < row.seq <= last]
        after = first
        while after < last:
            end, rows = self.read_page(after, last, baselines)
            rows += [row._replace(kind="state") for row in taken if after < row.seq <= end]
            yield sorted(rows, key=attrgetter("seq"))
            after = end

    def build_decision(self, names: Mapping[int, str], *row: Any) -> EventRow:
        """A decision's row, of what an engine reads: the number of its policy is found among names."""
        seq, uid, user_id, ts, policy, seed, pick, propensity, body, numbers, reward, held = row
        means, _, _, probabilities = np.frombuffer(numbers, dtype=np.float64).reshape(4, -1)
        request = json.loads(unpack_body(body))
        for name in _IDS:
            request.pop(name, None)
        if reward is not None:
            if len(self._picks) >= _MAX_PICKS:
                del self._picks[next(iter(self._picks))]
            self._picks[seq] = _select_pick(request, pick)
        return EventRow(
            kind="decision",
            seq=seq,
            uid=uid,
            user=self.hash_user(user_id),
            ts=ts,
            policy=names[policy],
            seed=seed,
            pick=pick,
            propensity=propensity,
            probabilities=probabilities,
            means=means,
            request=_to_text(request),
            held=bool(held),
            reward=reward,
        )

    def build_reward(self, *row: Any) -> EventRow:
        """A reward's row; ``body`` is its decision's, or a request of the pick alone."""
        seq, uid, user_id, ts, value, weight, features, decision, linked, applied, body, pick = row
        if features is not None:
            legacy = json.loads(features)
            # Under another schema, context may be read from what was sent as a feature.
            picked = {
                "candidates": [{"features": legacy["features"]}],
                "context": legacy["features"] | legacy["context"],
            }
        else:
            known = self._picks.pop(decision, None)
            picked = _select_pick(json.loads(unpack_body(body)), pick) if known is None else known
        return EventRow(
            kind="reward",
            seq=seq,
            uid=uid,
            user=self.hash_user(user_id),
            ts=ts,
            reward=value,
            weight=weight,
            decision=decision,
            linked=bool(linked),
            legacy=features is not None,
            applied=bool(applied),
            picked=_to_text(picked),
        )

    def build_state(self, kind: str, uid: int, user_id: str, document: str) -> EventRow:
        """The row of a state that stands for all up to its event."""
        state = json.loads(document)
        seq = int(state["ledger_seq"])
        text = _to_text(state | {"user_id": ""})
        return EventRow(kind, seq, uid, self.hash_user(user_id), to_time(seq), document=text)

    def hash_user(self, user_id: str) -> str:
        """What names a user in files."""
        found = self._users.get(user_id)
        if found is None:
            found = self._users[user_id] = compute_tombstone(self.secret, user_id).hex()
        return found


def _select_pick(request: dict[str, Any], pick: int) -> dict[str, Any]:
    """A request with the picked candidate alone."""
    return {"candidates": [request["candidates"][pick]]} | (
        {"context": request["context"]} if "context" in request else {}
    )


def find_midnight(day: date) -> float:
    """When a day begins, in seconds since the epoch."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _to_text(document: Any) -> str:
    return _ENCODER.encode(document)
