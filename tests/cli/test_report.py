"""``bandstand report``: whether it pays, from a ledger at rest or beside a service."""

import json
from pathlib import Path

import pytest

from bandstand.cli import main
from tests.store.populated import Served


def run_report(monkeypatch: pytest.MonkeyPatch, state_dir: Path, *flags: str) -> int:
    """The command's exit code."""
    monkeypatch.setattr("sys.argv", ["bandstand", "report", "--state-dir", str(state_dir), *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
async def state_dir(tmp_path: Path) -> Path:
    """A ledger of three days."""
    async with Served(tmp_path) as served:
        for number in range(12):
            await served.reward(await served.decide(f"user-{number % 3}"))
            served.clock.now += 20_000
        await served.store.follow_gains()
    return tmp_path


def test_it_answers_in_a_sentence_and_tables(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report(monkeypatch, state_dir) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Too early to tell: 12 rewarded decisions")
    assert "the caller's first" in printed
    assert run_report(monkeypatch, state_dir, "--json", "--days", "2") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["all"]["rewarded"], len(found["days"])) == (12, 2)
    newest = found["days"][-1]["since"]
    assert run_report(monkeypatch, state_dir, "--json", "--since", newest) == 0
    assert json.loads(capsys.readouterr().out)["all"]["rewarded"] == found["days"][-1]["rewarded"]


def test_what_is_no_day_is_refused_in_one_line(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report(monkeypatch, state_dir, "--since", "soon") == 2
    assert "'soon' is no day" in capsys.readouterr().err
