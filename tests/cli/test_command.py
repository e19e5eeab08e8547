"""The command line itself: it explains itself, and what it refuses is one line."""

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bandstand import __version__
from bandstand.cli import command, main
from bandstand.cli.lazy_group import COMMANDS
from bandstand.cli.settings import render_settings_page
from bandstand.config.settings import Settings
from bandstand.errors import BandstandError


def test_the_version_is_the_package_s() -> None:
    result = CliRunner().invoke(command, ["--version"])
    assert (result.exit_code, result.output) == (0, f"bandstand {__version__}\n")


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command_with_what_it_does(words: list[str]) -> None:
    output = CliRunner().invoke(command, words, env={"COLUMNS": "200"}).output
    for name, source in COMMANDS.items():
        if source.hidden:  # a child of a service, which nobody types
            assert f" {name} " not in output
            continue
        page = CliRunner().invoke(command, [name, "--help"], env={"COLUMNS": "200"}).output
        explained = next(line.strip() for line in page.splitlines()[2:] if line.strip())
        assert f" {name} " in output
        assert explained[:40] in output


def test_help_of_serve_says_which_setting_each_flag_overrides_and_its_default() -> None:
    output = " ".join(CliRunner().invoke(command, ["serve", "--help"], env={"COLUMNS": "200"}).output.split())
    for flag, setting, default in (
        ("--host", "HOST", "127.0.0.1"),
        ("--port", "PORT", "8000"),
        ("--state-dir", "STATE_DIR", "state"),
    ):
        assert flag in output
        assert f"Overrides {setting}, whose default is {default}." in output


def test_settings_prints_a_row_for_every_setting() -> None:
    output = CliRunner().invoke(command, ["settings"]).output
    assert output == render_settings_page()
    for name in Settings.model_fields:
        assert f"\n| `{name.upper()}` | " in output
    assert all(row.count(" | ") == 3 for row in output.splitlines() if row.startswith("| `"))


def test_what_is_refused_is_one_line_on_stderr_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bandstand", "serve", "--port", "x"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    line = "bandstand: --port='x' is not allowed; expected a whole number from 0 to 65535\n"
    assert capsys.readouterr() == ("", line)


def test_an_error_of_several_lines_is_shown_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_refusal(settings: Settings) -> None:
        raise BandstandError("first\nsecond")

    stand_in = types.ModuleType("bandstand.wiring.app")
    stand_in.create_app = raise_refusal  # type: ignore[attr-defined]  # a module is made of what is put into it
    monkeypatch.setitem(sys.modules, "bandstand.wiring.app", stand_in)
    monkeypatch.setattr(sys, "argv", ["bandstand", "openapi"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr() == ("", "bandstand: first second\n")


def test_openapi_prints_the_document_that_is_served_and_touches_no_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("API_KEYS", "ops:admin:x")
    document = json.loads(CliRunner().invoke(command, ["openapi"]).output)
    assert document["info"]["version"] == __version__
    assert {"/score", "/reward", "/health"} <= set(document["paths"])
    assert not (tmp_path / "state").exists()


def test_the_module_runs_as_the_command_does() -> None:
    words = [sys.executable, "-m", "bandstand", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"bandstand {__version__}\n", "")


def test_a_command_loads_neither_the_others_nor_what_only_they_need() -> None:
    check = (
        "import sys; from bandstand.cli import command\n"
        "try: command(['judge', '--help'])\n"
        "except SystemExit: pass\n"
        "others = {'fastapi', 'uvicorn', 'starlette', 'bandstand.cli.serve', 'bandstand.cli.state.commands'}\n"
        "print(*others & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == ""
