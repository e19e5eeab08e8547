"""The session of docs/logs.md, and what its commands refuse."""

import asyncio
import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bandstand.cli import main
from bandstand.service.score import score
from bandstand.store.event_files.form import Arrow
from tests.store.given import DAY, random_context, random_features
from tests.store.populated import Served

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "logs.md").read_text()

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIR", "state")

    def run_line(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run_line


async def write_ledger(state_dir: Path) -> float:
    """Six users over four days, the same every time; returns when the fifth begins."""
    async with Served(state_dir) as served:
        served.store.secret = b"tests"
        for turn in range(4 * 6 * 5):
            served.clock.now += DAY / 30
            request = {
                "user_id": f"user-{turn % 6}",
                "decision_id": str(turn),  # of which the draw is made
                "context": random_context(served.random),
                "candidates": [{"id": str(place), "features": random_features(served.random)} for place in range(3)],
            }
            body = json.dumps(request).encode()
            await score(served.deployment, request, body=body, client="tests", policy="uniform-v1")
            if turn % 4:
                await served.reward(str(turn))
        return served.clock.now + DAY


@pytest.fixture
def _ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = asyncio.run(write_ledger(tmp_path / "state"))
    monkeypatch.setattr("bandstand.cli.event_log.time.time", lambda: now)


def query_files(days: list[Path]) -> list[tuple[str, int, float]]:
    """What the page's query finds in exported days; SQLite answers in the place of DuckDB."""
    (query,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    parquet = Arrow.load().parquet
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE events (kind, policy, reward)")
        for day in days:
            rows = parquet.read_table(day, columns=["kind", "policy", "reward"]).to_pylist()
            database.executemany("INSERT INTO events VALUES (:kind, :policy, :reward)", rows)
        found, changed = re.subn(r"'logs/.*?\.parquet'", "events", query)
        assert changed == 1
        return database.execute(found).fetchall()


def query_ledger(state: Path) -> list[tuple[str, int, Any]]:
    """The same of the ledger that they were written from: each policy's decisions, and what stands of their rewards."""
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        [(name, count, mean)] = ledger.execute("""SELECT p.name, count(*), avg(r.value) FROM decisions AS d
            JOIN policies AS p ON p.id = d.policy LEFT JOIN rewards AS r ON r.decision_seq = d.seq GROUP BY p.name""")
    return [(name, count, pytest.approx(mean, rel=1e-9))]


@pytest.mark.usefixtures("_ledger")
def test_the_session_goes_as_the_page_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = re.findall(
        r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE
    )
    assert len(steps) >= 8
    for line, expected in steps:
        code, out, err = run(line)
        assert (code, err) == (0, ""), line
        printed = "\n".join(text.rstrip() for text in out.splitlines()).strip()
        assert printed == expected.strip(), line
    days = sorted((tmp_path / "logs").iterdir())
    assert query_files(days) == query_ledger(tmp_path / "state") != []

    def refuse(line: str) -> str:
        code, out, err = run(line)
        assert (code, out) == (2, ""), line
        assert err.startswith("bandstand: ")
        assert err.count("\n") == 1, err
        return err

    assert "parts 0, 2 are missing, of 3" in refuse("bandstand evaluate reduce plan.json 1.json")
    assert "1.json: is part 1, as 1.json is" in refuse("bandstand evaluate reduce plan.json 1.json 1.json")
    assert "there is no part 3: the plan's are 0 to 2" in refuse("bandstand evaluate map plan.json 3")
    assert "has changed since the plan was made" in refuse("bandstand evaluate map plan.json 0")
    run("bandstand evaluate plan other.json --from logs --policy linucb-v2")
    assert "1.json: is of another plan" in refuse("bandstand evaluate reduce other.json 1.json")
    with monkeypatch.context() as configured:
        configured.setenv("BANDSTAND_CONFIG", "other.toml")
        (tmp_path / "other.toml").write_text('[policies.linucb-v2]\nkind = "linucb"\nschema = "tips-v2"\nalpha = 2.0\n')
        assert "policy linucb-v2 is not defined here as it was" in refuse("bandstand evaluate map other.json 0")
    (tmp_path / "other.json.learned" / "1.json.zst").write_bytes(b"")
    assert "1.json.zst: is not of this plan" in refuse("bandstand evaluate map other.json 1")
    plan = tmp_path / "plan.json"
    plan.write_text(plan.read_text().replace("snips", "ips"))
    assert "plan.json: was changed since it was planned" in refuse("bandstand evaluate map plan.json 0")
    assert "run `bandstand log export` first" in refuse("bandstand evaluate plan other.json --from state --policy a")
    assert "nowhere" in refuse("bandstand evaluate plan nowhere/other.json --from logs --policy linucb-v2")
    assert "flags go after map" in refuse("bandstand evaluate --json map plan.json 0")
    assert "no file matches the pattern" in refuse("bandstand evaluate --from 'logs/2024-*' --policy linucb-v2")
    assert "--columns goes with a file of rows only" in refuse("bandstand evaluate --from logs --columns reward=r")
    (tmp_path / "logs" / "twice.parquet").write_bytes(days[0].read_bytes())
    for line in ("evaluate --from logs --policy linucb-v2", "log export logs", "log forget logs"):
        assert f"is the day {days[0].stem}, as {days[0].name} is" in refuse(f"bandstand {line}")
    (tmp_path / "logs" / "twice.parquet").write_bytes(days[0].read_bytes()[:2000])
    assert "twice.parquet: cannot be read: " in refuse("bandstand evaluate --from 'logs/*' --policy linucb-v2 --jobs 2")
    (tmp_path / "logs" / "0.parquet").touch()
    assert "0.parquet: cannot be read: " in refuse("bandstand evaluate --from logs --policy linucb-v2")
    (tmp_path / "logs" / "0.parquet").unlink()
    assert "twice.parquet: cannot be read: " in refuse("bandstand evaluate --from logs --policy linucb-v2")
    arrow = Arrow.load()
    arrow.parquet.write_table(arrow.core.table({"reward": [1.0]}), tmp_path / "logs" / "twice.parquet")
    assert "twice.parquet: is no day of an exported log" in refuse("bandstand evaluate --from logs --policy linucb-v2")
    assert "there is no column 'propensity'" in refuse("bandstand evaluate --from logs/twice.parquet --policy a")


@pytest.mark.parametrize("line", ["log forget nowhere", "log export logs --day 2026-13-01", "log export logs"])
def test_what_cannot_be_exported_is_one_line(run: Run, line: str) -> None:
    code, out, err = run(f"bandstand {line}")
    assert (code, out, err.count("\n")) == (2, "", 1)
