"""What a page or ``GET /stats`` asks of the ledger is as much work after years as after months.

Work is counted in steps of SQLite's virtual machine, so that no machine's speed comes into it.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.records import first_seq_at
from bandstand.store.sqlite import reader
from bandstand.store.sqlite.schema import connect
from bandstand.store.tables import judgements
from bandstand.store.tables.console_queries import ConsoleQueries
from bandstand.store.tables.shown import DecisionSearch
from tests.store.given import CATALOGUE, DAY, NOON, QUICK, Subject, ledger_of, make_embedded

MONTHS, YEARS = 120, 1_200
A_PAGE = 50
EVERYTHING = 2**63 - 1
HOUR = 3600
STATES: tuple[judgements.JudgementState, ...] = ("taught", "withheld", "unscored")

Question = Callable[[EmbeddedStore, ConsoleQueries, float], Awaitable[Any]]
"""Asked of a ledger whose newest event is of the time given, in seconds since the epoch."""

QUESTIONS: dict[str, Question] = {
    "the loop's health": lambda store, _, __: store.load_loop_sums(31),
    "the loop's health, days left out": lambda store, _, __: store.load_loop_sums(0),
    "totals by policy": lambda store, _, __: store.load_policy_totals(),
    "activity of 90 days": lambda _, sight, now: sight.load_activity(
        int(now // HOUR) - 90 * 24, int(now // HOUR) + 1, 24
    ),
    "newest users": lambda _, sight, __: sight.list_newest_users(None, A_PAGE),
    "users by prefix": lambda _, sight, __: sight.list_users_by_prefix("user-", "user-00000", A_PAGE),
    "a user's newest decisions": lambda _, sight, __: sight.list_decisions(1, None, A_PAGE),
    "a user's newest rewards": lambda _, sight, __: sight.list_rewards(1, A_PAGE),
    "what was shown, of some decisions": lambda _, sight, __: sight.search_decisions(
        DecisionSearch(words=["unheard"]), EVERYTHING, A_PAGE, 100
    ),
    "what was shown to a user": lambda _, sight, __: sight.search_decisions(
        DecisionSearch(user_id="user-00000"), EVERYTHING, A_PAGE, 100
    ),
    "all judgements": lambda store, _, __: store.list_judgements(STATES, EVERYTHING, A_PAGE),
    "scored judgements": lambda store, _, __: store.list_judgements(STATES[:2], EVERYTHING, A_PAGE),
    "older judgements": lambda store, _, now: store.list_judgements(STATES, first_seq_at(now - 20 * DAY), A_PAGE),
    "totals of judgements": lambda store, _, __: store.load_turn_totals(),
}


async def live_days(state_dir: Path, days: int) -> None:
    """Leave a ledger of so many days, in each of which a new user and the first one decide, are rewarded and speak."""
    async with Subject(make_embedded(state_dir)):
        pass
    with ledger_of(state_dir) as ledger:
        ledger.execute("BEGIN")
        for day in range(days):
            ts = NOON + day * DAY
            ledger.execute("INSERT INTO users VALUES (?, ?)", (day + 1, f"user-{day:05d}"))
            for number, uid in enumerate({1, day + 1}):
                _event(ledger, first_seq_at(ts + number), uid, ts + number, STATES[day % 3])
            for hour in (-1, *range(int(ts // HOUR), int(ts // HOUR) + 24)):
                ledger.execute("INSERT OR IGNORE INTO rollups VALUES (?, 1, 1, 0, 1, 0.5)", (hour,))
            for each in (-1, int(ts // DAY)):
                ledger.execute("INSERT OR IGNORE INTO draws VALUES (?, 1, 3, 1, 0, 0, 0, 1, 1, 0, 1, 1, 1)", (each,))
        ledger.execute("COMMIT")


def _event(ledger: sqlite3.Connection, seq: int, uid: int, ts: float, state: judgements.JudgementState) -> None:
    decision = (seq, f"{seq:016x}", uid, 1, "tests", ts, "tip", 0, 0, 0.5, 0.0, 1.0, 0.0, b"{}", b"")
    reward = (seq + 1, uid, 1, seq, None, "tip", 0.5, 1.0, 1, None, "turn", None, b"", "tests", ts)
    judgement = (
        seq + 2,
        "0" * 16,
        uid,
        1,
        seq,
        "tip",
        None,
        "followup-v1",
        b"",
        "tests",
        ts,
        state,
        None,
        1,
        1,
        None,
        None,
    )
    for table, row in (("decisions", decision), ("rewards", reward), ("judgements", judgement)):
        ledger.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 (constants)


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """State directories by the days that they lived."""
    made = {days: tmp_path_factory.mktemp(f"days-{days}") for days in (MONTHS, YEARS)}
    for days, state_dir in made.items():
        asyncio.run(live_days(state_dir, days))
    return made


async def count_steps(monkeypatch: pytest.MonkeyPatch, state_dir: Path, question: Question, days: int) -> int:
    """Steps that a question takes."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    def connect_counted(path: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        connection.set_progress_handler(step, 1)
        return connection

    monkeypatch.setattr(reader, "connect", connect_counted)
    sight = ConsoleQueries(state_dir)
    kept = replace(QUICK, retention_days=0, turn_retention_days=0)  # retention would read at the same time
    async with Subject(lambda clock: EmbeddedStore(state_dir, CATALOGUE, options=kept, clock=clock)) as subject:
        assert isinstance(subject.store, EmbeddedStore)
        subject.clock.now = NOON + (days - 1) * DAY
        before = steps
        await question(subject.store, sight, NOON + (days - 1) * DAY)
        taken = steps - before
    await sight.close()
    return taken


@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_question_is_no_more_work_after_years(
    ledgers: dict[int, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_months = await count_steps(monkeypatch, ledgers[MONTHS], QUESTIONS[name], MONTHS)
    after_years = await count_steps(monkeypatch, ledgers[YEARS], QUESTIONS[name], YEARS)
    assert 10 < after_years < 1.1 * after_months + 100


async def test_more_work_would_be_seen(ledgers: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def every_user(store: EmbeddedStore, *_: object) -> Awaitable[Any]:
        return store.list_users("user-", 0, 10_000)

    after_months = await count_steps(monkeypatch, ledgers[MONTHS], every_user, MONTHS)
    assert await count_steps(monkeypatch, ledgers[YEARS], every_user, YEARS) > 9 * after_months
