"""The short form of :mod:`tests.contract.kill_trials`."""

from pathlib import Path

import pytest

from tests.contract.kill_trials import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_acknowledged_is_lost_or_counts_twice(tmp_path: Path, seed: int) -> None:
    known = await run(tmp_path / "state", trials=6, seed=seed)
    assert known.decisions
    assert known.rewards
    assert known.keyed
