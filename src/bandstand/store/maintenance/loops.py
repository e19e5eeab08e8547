"""Which loops the ledger of the default one knows, for commands that run without a service."""

from contextlib import closing
from pathlib import Path

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.store.maintenance.offline import find_ledger
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import connect
from bandstand.store.tables.loops import LoopChange, list_loop_changes


def read_loop_changes(state_dir: Path) -> list[LoopChange]:
    """Every change of a loop, the oldest first.

    Raises:
        ConfigurationError: there is no ledger, or what it says is not for this version.
        StorageUnavailableError: it cannot be read.
    """
    path = find_ledger(state_dir)
    with storage_errors(state_dir), closing(connect(path, read_only=True)) as connection:
        return list_loop_changes(connection)


def find_loop_definition(changes: list[LoopChange], name: str) -> LoopDefinition | None:
    """What a loop other than the default one is by now; ``None`` if there is none of that name."""
    known = [change for change in changes if change.name == name]
    if not known or known[-1].after is None:
        return None
    return LoopDefinition.parse(name, known[-1].after)
