"""A ledger's URL is taken apart, and none of its secrets come back in a sentence."""

import pytest

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.address import LedgerAddress

URL = "postgresql://someone:s3cret@a.example,b.example:6432/ledger"


def test_our_own_parameters_are_taken_out_and_the_driver_gets_the_rest() -> None:
    address = LedgerAddress.parse(f"{URL}?sslmode=require&schema=loop_1&pooler=transaction")
    assert address.dsn == f"{URL}?sslmode=require"
    assert (address.schema, address.has_transaction_pooler) == ("loop_1", True)
    plain = LedgerAddress.parse(URL)
    assert (plain.dsn, plain.schema, plain.has_transaction_pooler) == (URL, "bandstand", False)
    assert "s3cret" not in repr(plain)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://someone:s3cret@a/ledger",
        "someone:s3cret@a/ledger",
        f"{URL}?schema=s3cret;drop",
        f"{URL}?schema=pg_s3cret",
        f"{URL}?schema=S3CRET",
        f"{URL}?pooler=s3cret",
        f"{URL}?s3cret",
        "postgresql://[s3cret/ledger",
    ],
)
def test_what_is_no_ledger_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        LedgerAddress.parse(url)
    assert "s3cret" not in refused.value.detail.lower()
    assert refused.value.__cause__ is None
