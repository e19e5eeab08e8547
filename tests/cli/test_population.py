"""``bandstand population``: at once and in parts it learns the same, and what makes no whole is one line."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.population import PopulationPrior
from bandstand.cli import main
from bandstand.store.learners.prior_file import PriorFiles
from tests.store.populated import Served

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIR", "state")

    def run_line(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bandstand", "population", *shlex.split(line)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run_line


@pytest.fixture
async def _ledger(tmp_path: Path) -> None:
    async with Served(tmp_path / "state") as served:
        for number in range(5):
            await served.live_history(f"user-{number}", 4, ("linucb-v2",))


def succeed(run: Run, line: str) -> Any:
    code, out, err = run(line)
    assert (code, err) == (0, ""), line
    return json.loads(out) if out else None


@pytest.mark.usefixtures("_ledger")
def test_in_parts_it_learns_what_it_learns_at_once(run: Run, tmp_path: Path) -> None:
    files = PriorFiles(tmp_path / "state")
    once = succeed(run, "fit --policy linucb-v2 --json")
    assert (once["users"], once["rewards"], once["generation"]) == (5, 20, 1)
    expected = PopulationPrior.from_json(files.read("linucb-v2") or {})
    assert succeed(run, "plan plan.json --policy linucb-v2 --parts 2 --json")["parts"] == 2
    for part in (0, 1):
        assert succeed(run, f"map plan.json {part} --to {part}.users") is None
    parts = succeed(run, "reduce plan.json 1.users 0.users --json")
    assert parts == once | {"generation": 2}
    assert PopulationPrior.from_json(files.read("linucb-v2") or {}).to_json() == expected.to_json()

    for line, said in (
        ("reduce plan.json 0.users", "part 1 is missing, of 2"),
        ("reduce plan.json 0.users 0.users", "0.users: is part 0, as 0.users is"),
        ("reduce 0.users 0.users", "0.users: is no plan of a prior"),
        ("map plan.json 2 --to 2.users", "there is no part 2: the plan's are 0 to 1"),
        ("map plan.json 0 --to nowhere/0.users", "No such file or directory"),
        ("map plan.json 0 --to 0.users --state-dir other", "holds no ledger.db"),
        ("fit --policy uniform-v1", "learns no prior from its users"),
        ("fit --policy egreedy-v1", "learns no prior from its users"),
        ("fit --policy thompson-v1", "no user has taught policy thompson-v1 anything yet"),
    ):
        code, out, err = run(line)
        assert (code, out, err.count("\n")) == (2, "", 1), line
        assert said in err
