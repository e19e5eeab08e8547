"""The rows of a report, read from a shared ledger, beside running services."""

import time
from collections.abc import Mapping

from bandstand.bandit.catalogue import Catalogue
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.command_pool import require_ledger
from bandstand.store.postgres.deployment_log import SharedDeployment
from bandstand.store.postgres.gain_log import SharedGains
from bandstand.store.postgres.ledger import SharedLedger, SharedStoreOptions
from bandstand.store.postgres.picks import SharedPickReader
from bandstand.store.report_rows import ReportRows


async def read_report(
    address: LedgerAddress, catalogue: Catalogue, definitions: Mapping[str, str], *, has_picks: bool
) -> ReportRows:
    """Read what a report is made of; no slot is taken, and nothing is written.

    Args:
        address: of the loop's schema.
        catalogue: the configured policies.
        definitions: of the splits that the settings have, by kind.
        has_picks: whether to read the newest picks too.

    Raises:
        ConfigurationError: the schema holds no ledger that this version reads.
        StorageUnavailableError: the database cannot be read.
    """
    ledger = SharedLedger(address, catalogue, options=SharedStoreOptions(may_lead=False), clock=time.time, observe=None)
    try:
        await require_ledger(ledger.readers, address)
        gains, deployment = SharedGains(ledger), SharedDeployment(ledger)
        splits = {}
        for kind, definition in definitions.items():
            begun = await deployment.find_running_split(kind, definition)
            if begun is not None:
                splits[kind] = await gains.load_arms(begun[0]), begun[1]
        picks = await SharedPickReader(ledger.readers).read() if has_picks else None
        return ReportRows(await gains.load_gain_sums(), splits, picks)
    finally:
        await ledger.readers.close()
