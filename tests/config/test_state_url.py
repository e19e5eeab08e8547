"""Where a shared ledger is, by the settings."""

from pathlib import Path

import pytest

from bandstand.config.settings import read_settings
from bandstand.config.state_url import read_state_url
from bandstand.errors import ConfigurationError

URL = "postgresql://someone:s3cret@db.example/ledger"


def test_a_url_may_come_from_a_file_and_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{URL}\n")
    assert read_state_url(read_settings(state_url_file=str(file))) == URL
    assert read_state_url(read_settings()) is None
    for flags in ({"state_url": URL, "state_url_file": str(file)}, {"state_url_file": str(tmp_path / "none")}):
        with pytest.raises(ConfigurationError) as refused:
            read_state_url(read_settings(**flags))
        assert "s3cret" not in refused.value.detail
