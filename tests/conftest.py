"""What every test stands on: an environment that holds no setting of the developer's own."""

from collections.abc import Iterator

import pytest

from bandstand.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        yield
