"""A product and a service that are killed in the middle: the benchmark's trial in short. It takes minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from client_support.programs import build_environment

TRIAL = Path(__file__).parents[3] / "benchmarks" / "client_outbox.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TRIAL.exists(), reason="the benchmarks are not beside the client"),
]


@pytest.mark.parametrize("words", [("kills", "--kills", "12"), ("burst", "--rewards", "800")])
def test_no_reward_is_lost_or_doubled(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, str(TRIAL), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=build_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["accepted"] > 0
    assert found["rewarded"] >= found["accepted"]
