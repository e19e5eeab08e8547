"""The store of many processes keeps every promise of the protocol itself."""

import pytest

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.store import SharedStore
from bandstand.store.protocol import Store
from tests.store.given import CATALOGUE


def test_no_promise_of_the_protocol_is_left_to_the_protocol() -> None:
    promised = {name for name in dir(Store) if not name.startswith("_")}
    assert promised - {"secret"} <= set(vars(SharedStore)), "what cannot be kept is to be refused in a sentence"


@pytest.mark.parametrize("host", ["/nonexistent", "127.0.0.1:1"])
async def test_a_database_that_is_not_there_ends_the_start_with_a_sentence_without_its_secrets(host: str) -> None:
    place = f"@{host}/ledger" if ":" in host else f"@/ledger?host={host}"
    store = SharedStore(LedgerAddress.parse(f"postgresql://someone:s3cret{place}"), CATALOGUE)
    with pytest.raises(ConfigurationError, match="cannot be reached") as refused:
        await store.open()
    assert "s3cret" not in refused.value.detail
    assert refused.value.__cause__ is None
    assert store.status().state == "failed"
    await store.close()
