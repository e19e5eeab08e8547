"""``bandstand report``: whether it pays, from a ledger at rest or beside a service."""

import json
from pathlib import Path

import pytest

from bandstand.bandit.experiment import Experiment
from bandstand.cli import main
from tests.service.given import Service
from tests.store.given import make_embedded
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
    assert run_report(monkeypatch, state_dir, "--json", "--since", newest, "--loop", "default") == 0
    assert json.loads(capsys.readouterr().out)["all"]["rewarded"] == found["days"][-1]["rewarded"]


async def test_arms_are_compared_by_what_rewards_bring_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(make_embedded(tmp_path), experiment=Experiment.parse("linucb-v2:50,thompson-v1:50"))
    await service.deployment.store.open()
    await service.deployment.start()
    for number in range(80):
        scored = await service.score(user_id=f"user-{number}")
        metrics = {"clicks": number % 2, "revenue": number % 7}
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5, "metrics": metrics})
    await service.deployment.store.follow_gains()
    await service.deployment.store.close()
    monkeypatch.setenv("EXPERIMENT", "linucb-v2:50,thompson-v1:50")
    assert run_report(monkeypatch, tmp_path) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {(row[0], row[1]): row for row in rows if row and row[0] in {"clicks", "revenue"}}
    assert len(found) == 4
    assert found["clicks", "linucb-v2"][-1] == "–"  # the control
    assert found["clicks", "thompson-v1"][-2] == "to"


def test_what_is_no_day_is_refused_in_one_line(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report(monkeypatch, state_dir, "--since", "soon") == 2
    assert "'soon' is no day" in capsys.readouterr().err
    assert run_report(monkeypatch, state_dir, "--loop", "nowhere") == 2
    assert "knows no loop 'nowhere'" in capsys.readouterr().err
