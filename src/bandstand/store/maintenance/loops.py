"""Which loops the ledger of the default one knows, for commands that run without a service."""

from contextlib import closing
from pathlib import Path

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.store.maintenance.offline import find_ledger
from bandstand.store.sqlite.errors import storage_errors
from bandstand.store.sqlite.schema import connect
from bandstand.store.tables.loops import list_loop_changes


def read_loop_definition(state_dir: Path, name: str) -> LoopDefinition | None:
    """The definition of a loop from the default loop's ledger; ``None`` if there is no such loop.

    Raises:
        ConfigurationError: there is no ledger, or what it says is not for this version.
        StorageUnavailableError: it cannot be read.
    """
    path = find_ledger(state_dir)
    with storage_errors(state_dir), closing(connect(path, read_only=True)) as connection:
        changes = [change for change in list_loop_changes(connection) if change.name == name]
    if not changes or changes[-1].after is None:
        return None
    return LoopDefinition.parse(name, changes[-1].after)
