"""What commands print: in any locale, and one line for whatever is wrong with their arguments."""

import subprocess
import sys
from pathlib import Path

import pytest

from bandstand.cli import main
from bandstand.cli.settings import render_settings_page

COMMAND = [sys.executable, "-m", "bandstand"]
# de_DE.iso88591 and its kin are seldom installed: the stream's encoding is what they would make it.
LOCALES = {
    "latin-1": {
        "LC_ALL": "C.UTF-8",
        "PYTHONIOENCODING": "latin-1",
    },
    "ascii": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
FAULTS = (
    ["--nope"],
    ["nothing"],
    ["serve", "--nope"],
    ["serve", "--port", "x"],
    ["serve", "--port", "0", "--host", "no such host"],
    ["serve", "more"],
    ["settings", "more"],
    ["openapi", "--nope"],
    ["simulate", "--seeds", "x"],
    ["simulate", "--policy", "nobody"],
    ["simulate", "--url", "http://127.0.0.1:1"],
    ["evaluate", "--from", "/nowhere/log.csv"],
    ["evaluate", "--from", "."],
    ["evaluate", "--state-dir", "/nowhere", "--policy", "linucb-v2"],
    ["judge", "nothing"],
    ["judge", "evaluate", "/nowhere.jsonl"],
    ["judge", "evaluate", "."],
    ["judge", "calibrate"],
    ["judge", "train", "/nowhere.jsonl"],
    ["judge", "retry", "--url", "http://127.0.0.1:1"],
    ["judge", "retry", "--url", "nonsense"],
    ["judge", "reapply", "--since", "yesterday"],
    ["state", "nothing"],
    ["state", "verify", "--state-dir", "/nowhere"],
    ["state", "verify", "--state-dir", "/dev/null"],
    ["state", "export", "/nowhere/users.jsonl", "--state-dir", "/nowhere"],
    ["state", "import", "/nowhere.jsonl"],
    ["state", "import", "--format", "v1", "/nowhere"],
    ["state", "import", "--format", "v9", "/nowhere"],
    ["state", "backup", "/proc/nowhere", "--state-dir", "/nowhere"],
    ["state", "reset"],
    ["state", "reset", "ada", "--url", "http://127.0.0.1:1"],
    ["state", "erase", "ada", "--yes", "--url", "ftp://127.0.0.1"],
    ["state", "revoke", "--url", "http://[::1"],
    ["state", "rebuild", "--state-dir", "/proc/nowhere"],
    ["state", "migrate", "--schema", "none", "--state-dir", "/nowhere"],
)


def run_command(folder: Path, words: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {"PATH": "/usr/bin:/bin", "COLUMNS": "80", **environment}
    return subprocess.run([*COMMAND, *words], cwd=folder, env=variables, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize("locale", LOCALES)
def test_what_a_locale_cannot_show_is_replaced(tmp_path: Path, locale: str) -> None:
    done = run_command(tmp_path, ["settings"], **LOCALES[locale])
    assert (done.returncode, done.stderr) == (0, b"")
    page = render_settings_page()
    # Where a locale is not set up at all, typer takes the reader for one who knows UTF-8.
    assert done.stdout in {page.encode("latin-1" if locale == "latin-1" else "ascii", "replace"), page.encode()}
    assert (locale == "latin-1") == (b"?: under the hard gate" in done.stdout)


def test_help_in_words_that_a_locale_cannot_show(tmp_path: Path) -> None:
    done = run_command(tmp_path, ["judge", "calibrate", "--help"], **LOCALES["latin-1"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"threshold ?" in done.stdout


@pytest.mark.parametrize("locale", ["latin-1", "C"])
def test_an_error_in_words_that_a_locale_cannot_show_is_one_line(tmp_path: Path, locale: str) -> None:
    done = run_command(tmp_path, ["state", "verify", "--state-dir", "/nicht/d\xe4/\u65e5\u672c"], **LOCALES[locale])
    assert done.returncode == 2
    assert done.stderr.startswith(b"bandstand: STATE_DIR ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", FAULTS, ids=" ".join)
def test_whatever_is_wrong_is_one_line_on_stderr(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bandstand", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert caught.value.code in {1, 2}
    assert len(err.splitlines()) == 1, err
    assert err.startswith("bandstand: ")
    assert out == ""
