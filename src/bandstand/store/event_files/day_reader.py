"""The days of a state directory, out of its ledger."""

from collections.abc import Iterator, Mapping
from typing import Final

from bandstand.store.event_files.day_rows import PAGE, Baselines, DayReader
from bandstand.store.event_files.form import EventRow
from bandstand.store.maintenance.offline import OpenedDirectory

_TABLES: Final = ("decisions", "rewards", "marks", "revocations")
# Where a model is everybody's, a decision is about whom it was made for; who is being erased is nobody any more.
_ABOUT: Final = """JOIN users AS u ON u.uid = {row}.uid LEFT JOIN subjects AS s ON s.seq = {decision}
    LEFT JOIN users AS su ON su.uid = s.uid"""
_WHOLE: Final = "(s.seq IS NULL OR su.uid IS NOT NULL)"
_STANDS: Final = """(SELECT value FROM rewards AS r WHERE r.{column} = d.seq AND (r.applied OR r.reason = 'reset')
    AND NOT EXISTS (SELECT 1 FROM revocations AS v WHERE v.reward_seq = r.seq) ORDER BY seq DESC LIMIT 1)"""
_DECISIONS: Final = f"""SELECT d.seq, d.uid, coalesce(su.user_id, u.user_id), d.ts, d.policy, d.seed, d.pick,
        d.propensity, d.body, d.numbers,
        coalesce({_STANDS.format(column="decision_seq")}, {_STANDS.format(column="linked_seq")}),
        EXISTS (SELECT 1 FROM windows AS w WHERE w.decision = d.seq AND w.held)
    FROM decisions AS d {_ABOUT.format(row="d", decision="d.seq")}
    WHERE d.seq > ?1 AND d.seq <= ?2 AND {_WHOLE}"""  # noqa: S608 (constants)
_REWARDS: Final = f"""SELECT r.seq, r.uid, coalesce(su.user_id, u.user_id), r.ts, r.value, r.weight, r.features,
        coalesce(r.decision_seq, r.linked_seq), r.decision_seq IS NULL, r.applied, d.body, d.pick
    FROM rewards AS r LEFT JOIN decisions AS d ON d.seq = coalesce(r.decision_seq, r.linked_seq)
    {_ABOUT.format(row="r", decision="d.seq")}
    WHERE r.seq > ?1 AND r.seq <= ?2 AND (r.applied OR r.reason = 'reset') AND {_WHOLE}
      AND (r.features IS NOT NULL OR d.body IS NOT NULL)"""  # noqa: S608 (constants)
_REVOCATIONS: Final = """SELECT v.seq, v.uid, u.user_id, v.ts, v.reward_seq
    FROM revocations AS v JOIN users AS u ON u.uid = v.uid WHERE v.seq > ?1 AND v.seq <= ?2"""
_MARKS: Final = """SELECT m.seq, m.uid, u.user_id, m.ts, m.kind, m.document
    FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.seq > ?1 AND m.seq <= ?2 AND m.kind IN ('reset', 'import')"""
_BASELINES: Final = """SELECT m.uid, u.user_id, m.document FROM marks AS m JOIN users AS u ON u.uid = m.uid
    WHERE m.kind = 'baseline' AND m.uid > ? ORDER BY m.uid LIMIT ?"""
_NTH: Final = "SELECT seq FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?"


class DirectoryDays(DayReader):
    """Reads days of a state directory.

    Args:
        state: an observed state directory.
    """

    def __init__(self, state: OpenedDirectory) -> None:
        super().__init__(state.read_secret())
        self._state = state

    def read_tombstones(self) -> dict[bytes, int]:
        """As the base class says."""
        return dict(self._state.connection.execute("SELECT user_hash, seq FROM tombstones"))

    def find_first_seq(self) -> int | None:
        """As the base class says."""
        firsts = [
            self._state.connection.execute(f"SELECT min(seq) FROM {table}").fetchone()[0]  # noqa: S608 (a constant)
            for table in _TABLES
        ]
        return min((int(seq) for seq in firsts if seq is not None), default=None)

    def read_baselines(self) -> Baselines:
        """As the base class says."""
        connection, after = self._state.connection, -1
        rows: list[EventRow] = []
        while page := connection.execute(_BASELINES, (after, PAGE)).fetchall():
            rows += [self.build_state("baseline", *row) for row in page]
            after = page[-1][0]
        return Baselines(rows, {row.uid: row.seq for row in rows})

    def refresh(self) -> None:
        """As the base class says."""
        self._state.registry.load(self._state.connection)

    def read_page(self, after: int, last: int, baselines: Baselines) -> tuple[int, list[EventRow]]:
        """As the base class says."""
        kept, names = baselines.kept_until, self._state.registry.get_names()
        with self._state.snapshot():
            end = self._find_page_end(after, last)
            return end, [row for row in self._read_rows(after, end, names) if row.seq > kept.get(row.uid, 0)]

    def _find_page_end(self, after: int, last: int) -> int:
        """The event number up to which no table has more than a page of rows."""
        ends = [
            self._state.connection.execute(_NTH.format(table=table), (after, PAGE - 1)).fetchone() for table in _TABLES
        ]
        return min([last, *(int(end[0]) for end in ends if end is not None)])

    def _read_rows(self, after: int, end: int, names: Mapping[int, str]) -> Iterator[EventRow]:
        connection, bounds = self._state.connection, (after, end)
        for row in connection.execute(_DECISIONS, bounds):
            yield self.build_decision(names, *row)
        for row in connection.execute(_REWARDS, bounds):
            yield self.build_reward(*row)
        for seq, uid, user_id, ts, revoked in connection.execute(_REVOCATIONS, bounds):
            yield EventRow("revocation", seq, uid, self.hash_user(user_id), ts, revoked=revoked)
        for seq, uid, user_id, ts, kind, document in connection.execute(_MARKS, bounds):
            if kind == "reset":
                yield EventRow("reset", seq, uid, self.hash_user(user_id), ts)
            else:
                yield self.build_state("state", uid, user_id, document)._replace(seq=seq, ts=ts)
