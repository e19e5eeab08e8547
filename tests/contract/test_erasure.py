"""The short form of :mod:`tests.contract.erasure_trials`."""

from pathlib import Path

import pytest

from tests.contract.erasure_trials import run

pytestmark = pytest.mark.slow


async def test_no_byte_of_an_erased_user_stays_however_often_the_service_is_killed(tmp_path: Path) -> None:
    erased = await run(tmp_path / "state", erasures=60, seed=1)
    assert erased.found == []
    assert erased.kills > 1
    assert erased.reads >= 60 - erased.kept_logs
