"""What every test stands on: no setting of the developer's own in the environment, and no time that decides."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from bandstand.config.settings import Settings

# On a busy machine any example may take long.
hypothesis.settings.register_profile("bandstand", derandomize=True, deadline=None)
hypothesis.settings.load_profile("bandstand")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        yield


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out slow tests that take seconds to be found, where no slow test runs."""
    return (collection_path.name == "test_made_up_requests.py" and config.option.markexpr == "not slow") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that nobody waits for it alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)
