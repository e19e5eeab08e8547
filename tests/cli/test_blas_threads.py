"""The command's linear algebra has one thread, whatever the machine, unless somebody says otherwise."""

import os
import subprocess
import sys

import pytest

CODE = "import sys; from bandstand import __version__; early = 'numpy' in sys.modules; import bandstand.cli, os; "


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("3", "3")])
def test_it_is_set_before_numpy_is_imported(given: str | None, expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    environment |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    code = CODE + "print(early, os.environ['OPENBLAS_NUM_THREADS'])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert said.stdout.split() == ["False", expected]


def test_nothing_that_imports_numpy_comes_before_it() -> None:
    code = (
        "import builtins, os, sys\n"
        "os.environ.pop('OPENBLAS_NUM_THREADS', None)\n"
        "real, seen = builtins.__import__, []\n"
        "def note(name, *rest, **more):\n"
        "    if name == 'numpy' and not seen:\n"
        "        seen.append(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = note\n"
        "from bandstand.cli import command\n"
        "try: command(['simulate', '--help'])\n"  # which imports numpy; no command is imported before it is asked for
        "except SystemExit: pass\n"
        "print(seen)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "['1']"
