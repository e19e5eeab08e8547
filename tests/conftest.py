"""What every test stands on: no setting of the developer's own in the environment, and no time that decides."""

from collections.abc import Iterator

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that nobody waits for it alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)
