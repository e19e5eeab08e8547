"""Moving in from Personalizer: the page's session, and Microsoft's quickstart by the published client."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.server import start_server
from tests.project.checkout import ROOT, tool

pytestmark = pytest.mark.slow

FOLDER = ROOT / "examples" / "personalizer"
PAGE = (ROOT / "docs" / "from-personalizer.md").read_text("utf-8")
CLIENT = ROOT / ".venv-personalizer" / "bin" / "python"
KEY = "0ps-s3cret"
LINE = re.compile(r"events +(\d+) to +(\d+): earned (\d\.\d{3}), expected (\d\.\d{3})")


def find_block(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_session_of_the_page_says_what_the_page_says(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("there is no curl")
    with start_server(tmp_path / "state", API_KEYS=f"ops:admin:{KEY}") as server:
        variables = {"URL": f"http://127.0.0.1:{server.port}", "KEY": KEY, "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [tool("bash"), "-euo", "pipefail", "-c", find_block("sh")],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr + done.stdout
    pattern = ".*".join(map(re.escape, find_block("text").split("…")))
    assert re.fullmatch(pattern, done.stdout), done.stdout


def test_microsofts_quickstart_learns(tmp_path: Path) -> None:
    if not CLIENT.exists():
        assert not os.environ.get("CI"), "CI must have run `make personalizer`"
        pytest.skip("Personalizer's clients are not installed: run `make personalizer`")
    settings = {"BANDSTAND_CONFIG": str(FOLDER / "bandstand.toml"), "DURABILITY": "process"}
    with start_server(tmp_path / "state", API_KEYS=f"ops:admin:{KEY}", **settings) as server:
        words = [str(FOLDER / "quickstart.py"), f"http://127.0.0.1:{server.port}/loops/menu", KEY, "120"]
        done = subprocess.run(
            [str(CLIENT), "-W", "ignore", *words], capture_output=True, text=True, check=False, timeout=300
        )
    assert done.returncode == 0, done.stderr
    lines = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    (*_, last) = lines
    assert last is not None
    assert (last[1], last[2]) == ("501", "600")
    assert float(last[4]) >= 0.85, "what its probabilities promise; a fifth of the picks is uniform"
