"""The rows of a report, read from a state directory, beside a running service."""

from collections.abc import Mapping
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.report_rows import ReportRows
from bandstand.store.tables.arms import load_arms
from bandstand.store.tables.gains import load_gain_sums
from bandstand.store.tables.picks import PickReader
from bandstand.store.tables.promotions import find_running_experiment
from bandstand.store.tables.splits import HOLDOUT, find_running_holdout


def read_report(
    directory: Path, catalogue: Catalogue, definitions: Mapping[str, str], *, has_picks: bool
) -> ReportRows:
    """Read what a report is made of.

    Args:
        directory: the state directory.
        catalogue: the configured policies.
        definitions: of the splits that the settings have, by kind.
        has_picks: whether to read the newest picks too.

    Raises:
        ConfigurationError, StorageUnavailableError: as :func:`bandstand.store.maintenance.offline.open_read_only`.
    """
    with open_read_only(directory, catalogue) as opened:
        splits = {}
        for kind, definition in definitions.items():
            find = find_running_holdout if kind == HOLDOUT else find_running_experiment
            if (begun := find(opened.connection, definition)) is not None:
                splits[kind] = load_arms(opened.connection, begun.seq), begun.ts
        picks = PickReader().read(opened.connection) if has_picks else None
        return ReportRows(load_gain_sums(opened.connection), splits, picks)
