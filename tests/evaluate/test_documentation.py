import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from bandstand import evaluate
from bandstand.cli import main
from bandstand.evaluate import FORMULAS

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


def test_every_estimator_is_on_the_page_with_its_default_parameter() -> None:
    for name, formula in FORMULAS.items():
        parameter = f"({formula.parameter.name}={formula.parameter.default:g})" if formula.parameter else ""
        assert f"| `{name}{parameter}` |" in PAGE


def test_every_public_name_exists_and_every_estimator_is_one() -> None:
    assert set(FORMULAS) < set(evaluate.__all__)
    assert all(hasattr(evaluate, name) for name in evaluate.__all__)
