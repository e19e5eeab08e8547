import pytest

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.config.settings import Settings
from bandstand.wiring.running_loop import build_store_options


@pytest.mark.parametrize(("own", "kept"), [(None, 60), (0, 0), (30, 30)])
def test_a_loop_keeps_its_log_for_as_long_as_it_says_or_else_the_settings(own: int | None, kept: int) -> None:
    definition = LoopDefinition(name="menu", retention_days=own)
    assert build_store_options(Settings(decision_retention_days=60), definition).retention_days == kept
