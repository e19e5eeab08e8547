"""The client's types, from a user's side: uses that a checker accepts, and mistakes that it finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from client_support.programs import SOURCE

USES = Path(__file__).with_name("typed_uses")


def test_mypy_strict_accepts_the_uses_and_finds_the_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    words = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--cache-dir", str(tmp_path)]
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n")
    is_installed = "site-packages" in SOURCE.parts  # mypy finds it there, and refuses to be told
    environment = {**os.environ, **({} if is_installed else {"MYPYPATH": str(SOURCE)})}
    done = subprocess.run(
        [*words, "--config-file", str(config), str(USES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
