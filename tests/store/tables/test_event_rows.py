"""The rows that every request makes are tuples in the order of the columns that their statements name."""

import re
from pathlib import Path

from msgspec import structs

from bandstand.store.records import Reward
from bandstand.store.sqlite.packing import unpack_body
from bandstand.store.tables.event_rows import DecisionInsert, RewardInsert, build_decision_row, build_reward_row
from tests.project.checkout import ROOT
from tests.store.given import Subject, make_embedded

_INSERT = re.compile(r"\b(?:INSERT(?: OR \w+)?|REPLACE) INTO (\S+) ?(\()?")


async def test_a_decision_s_row_has_its_columns_order(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = subject.build_decision("anna")
        decision.uid = 7
        row = DecisionInsert._make(build_decision_row(decision, 5))
        own = DecisionInsert._make(build_decision_row(subject.build_decision("anna", own_id="mine"), 5))
    assert (row.uid, row.policy, own.nonce) == (7, 5, None)
    assert f"{row.seq:016x}{row.nonce}" == decision.decision_id
    assert decision.numbers is not None
    assert (unpack_body(row.body), row.numbers) == (decision.body, decision.numbers.tobytes())
    for name in ("seq", "client", "ts", "tip_id", "pick", "exploring", "seed", "score", "propensity", "floor"):
        assert getattr(row, name) == getattr(decision, name), name


async def test_a_reward_s_row_has_its_columns_order(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        legacy: Reward = structs.replace(subject.legacy("anna", 0.5), seq=9, decision_seq=3, reason="reset")
        row = RewardInsert._make(build_reward_row(legacy, 7, 5, linked_seq=4))
    assert (row.uid, row.policy, row.linked_seq) == (7, 5, 4)
    for name in set(RewardInsert._fields) - {"uid", "policy", "linked_seq"}:
        assert getattr(row, name) == getattr(legacy, name), name


async def test_rows_of_requests_have_values_that_sqlite_takes_as_they_are(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        rows = [
            build_decision_row(subject.build_decision("anna"), 5),
            build_decision_row(subject.build_decision("anna", own_id="mine"), 5),
            build_reward_row(subject.legacy("anna", 0.5), 7, 5),
        ]
    assert {type(value) for row in rows for value in row} <= {int, float, str, bytearray, type(None)}


def test_every_insert_names_its_columns() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
    inserts = [(path, match) for path, source in sources.items() for match in _INSERT.finditer(source)]
    assert len(inserts) > 5, "this finds what it looks for"
    assert [f"{path.name}: {match[0]}" for path, match in inserts if not match[2]] == []
