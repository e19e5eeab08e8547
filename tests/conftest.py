"""What every test stands on: no setting of the developer's own in the environment, and no time that decides."""

import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from bandstand.config.settings import Settings

# On a busy machine any example may take long.
hypothesis.settings.register_profile("bandstand", derandomize=True, deadline=None)
hypothesis.settings.load_profile("bandstand")

# Ten thousand tests and all that they import come to stay, and each full collection would look through them again.
gc.disable()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        yield


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules without a test that is to run: four in five where slow ones do, and elsewhere a costly one."""
    match config.option.markexpr:
        case "slow":
            is_module = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
            return (is_module and not _names_slow_tests(collection_path)) or None
        case "not slow":
            return collection_path.name == "test_made_up_requests.py" or None
    return None


@cache
def _names_slow_tests(module: Path) -> bool:
    return "pytest.mark.slow" in module.read_text(encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that nobody waits for it alone in the end."""
    unseen = {item.path for item in items if item.get_closest_marker("slow") and not _names_slow_tests(item.path)}
    if unseen:
        raise pytest.UsageError(f"`make slow` would not find the slow tests of modules that do not name them: {unseen}")
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_collection_finish() -> None:
    """Collect garbage from here on, among what the tests make."""
    gc.freeze()
    gc.enable()
