"""One connection to a shared ledger for a command, which runs no event loop of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bandstand.errors import ConfigurationError
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.connections import ConnectionPool
from bandstand.store.postgres.schema import FORMAT, require_readable

_META = "SELECT key, value FROM meta"


@contextmanager
def open_command_pool(
    address: LedgerAddress, *, writes: bool = False
) -> Iterator[tuple[asyncio.Runner, ConnectionPool]]:
    """Open a ledger, whether or not services run on it; yields what runs the questions, and what they are asked of.

    Args:
        address: of its schema.
        writes: whether anything is to be written; else a standby will do, if the URL says so.

    Raises:
        ConfigurationError: the schema holds no ledger that this version reads.
        StorageUnavailableError: the database cannot be read.
    """
    with asyncio.Runner() as runner:
        pool = ConnectionPool(address, 1, durable=writes, statement_s=0, reads_only=not writes)
        try:
            runner.run(require_ledger(pool, address))
            yield runner, pool
        finally:
            runner.run(pool.close())


async def require_ledger(pool: ConnectionPool, address: LedgerAddress) -> None:
    """Refuse a schema that holds no ledger that this version reads.

    Raises:
        ConfigurationError: it does not.
    """
    there = await pool.fetch_one("SELECT to_regclass($1) IS NOT NULL", f"{address.schema}.meta")
    if not there[0]:
        raise ConfigurationError(f"the schema {address.schema!r} of STATE_URL holds no ledger")
    require_readable(dict(await pool.fetch(_META)), FORMAT)
