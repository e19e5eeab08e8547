import contextlib
import io
import math
import re
import shlex
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

from bandstand import evaluate
from bandstand.cli import main
from bandstand.evaluate import FORMULAS, ips, snips
from tests.evaluate.world import World

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "evaluate.md").read_text()


def test_the_examples_print_what_the_page_says() -> None:
    examples = re.findall(r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 2
    names: dict[str, object] = {}
    for source, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(source, names)  # noqa: S102 - the page's own example is what is tested
        assert printed.getvalue() == expected


def test_the_command_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    sources = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    for source in (sources[0], sources[-1]):
        exec(source, names)  # noqa: S102 - as above
    (console,) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.setattr(sys, "argv", shlex.split(console[0]))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "\n".join(printed).strip() == console[1].strip()


def test_the_query_says_what_the_estimators_say() -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
    log = World().draw_log(2000, seed=61)
    target = log.target[np.arange(2000), log.action]
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.create_function("sqrt", 1, math.sqrt)  # which SQLite may be built without
        database.execute("CREATE TABLE clicks (reward, propensity, target)")
        rows = np.stack([log.reward, log.propensity, target], 1).tolist()
        database.executemany("INSERT INTO clicks VALUES (?, ?, ?)", [*rows, [None, 0.5, 0.5]])
        (found,) = database.execute(query.replace("'clicks/*.parquet'", "clicks"))
    weighted, normalised = (estimate(log.reward, None, log.propensity, target) for estimate in (ips, snips))
    expected = (
        weighted.value,
        weighted.stderr,
        normalised.value,
        normalised.stderr,
        normalised.ess,
        normalised.mean_weight,
    )
    assert found == pytest.approx(expected, rel=1e-9)


def test_every_estimator_is_on_the_page_with_its_default_parameter() -> None:
    for name, formula in FORMULAS.items():
        parameter = f"({formula.parameter.name}={formula.parameter.default:g})" if formula.parameter else ""
        assert f"| `{name}{parameter}` |" in PAGE


def test_every_public_name_exists_and_every_estimator_is_one() -> None:
    assert set(FORMULAS) < set(evaluate.__all__)
    assert all(hasattr(evaluate, name) for name in evaluate.__all__)
