"""The state directory a command works on, and the policies it is read with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import quote

import typer

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.config.catalogue import load_catalogue
from bandstand.config.loops import get_loop_directory, load_default_loop, load_loop_catalogue, load_loops
from bandstand.config.settings import Settings, read_settings
from bandstand.config.state_url import read_state_url
from bandstand.errors import ConfigurationError, StorageUnavailableError
from bandstand.store.logged_events import EventLog
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.decision_log import DirectoryEventLog
from bandstand.store.maintenance.loops import find_loop_definition, read_loop_changes
from bandstand.store.maintenance.offline import open_read_only
from bandstand.store.tables.loops import LoopChange, fold_default_loop

if TYPE_CHECKING:
    from bandstand.store.postgres.address import LedgerAddress

StateDir = Annotated[
    str | None, typer.Option(metavar="PATH", help="The state directory. Overrides STATE_DIR, whose default is state.")
]
LoopName = Annotated[str | None, typer.Option("--loop", metavar="NAME", help="The loop; `default` if left out.")]


class StateLocation(NamedTuple):
    """Where the state is, what is configured for it, and which loop's it is.

    Attributes:
        directory: the directory that holds it; for a shared ledger, the process's own directory.
        address: of a shared ledger's schema; ``None`` for a directory.
    """

    directory: Path
    catalogue: Catalogue
    definition: LoopDefinition = LoopDefinition(name=DEFAULT_LOOP)
    address: "LedgerAddress | None" = None


def resolve_location(state_dir: str | None, loop: str | None = None, *, or_shared: bool = False) -> StateLocation:
    """Read the settings as the service would; the flags come first.

    Args:
        state_dir: the service's state directory; or that of a loop in it, which is then meant.
        loop: one of its loops; the default one if left out.
        or_shared: the command works on a shared ledger too, which STATE_URL then names.

    Raises:
        ConfigurationError: a setting, or the file of BANDSTAND_CONFIG, is wrong; or there is no such loop.
    """
    settings = read_settings(state_dir=state_dir)
    if state_dir is None and (settings.state_url is not None or settings.state_url_file is not None):
        if or_shared:
            return _resolve_shared(settings, loop or DEFAULT_LOOP)
        raise ConfigurationError(
            "STATE_URL is set, and this command works on a directory: name one with --state-dir, or ask the running "
            "service with --url where the command has that"
        )
    if loop is None:
        settings, loop = _split_directory(settings)
    if loop == DEFAULT_LOOP:
        return _resolve_default(settings, _read_changes_if_any(settings.state_dir))
    changes = read_loop_changes(settings.state_dir)
    definition = find_loop_definition(changes, loop) or load_loops(settings).get(loop)
    if definition is None:
        raise ConfigurationError(f"STATE_DIR {str(settings.state_dir)!r} knows no loop {loop!a}")
    return StateLocation(get_loop_directory(settings, loop), load_loop_catalogue(settings, definition), definition)


@contextmanager
def open_event_log(location: StateLocation) -> Iterator[EventLog]:
    """Read what was decided, whether or not a service runs on it.

    Raises:
        ConfigurationError: there is no ledger, or not of this version.
        StorageUnavailableError: it cannot be read.
    """
    if location.address is None:
        with open_read_only(location.directory, location.catalogue) as state:
            yield DirectoryEventLog(state)
        return
    from bandstand.store.postgres.event_reader import open_shared_log  # noqa: PLC0415 (its driver is an extra)

    with open_shared_log(location.address, location.catalogue) as log:
        yield log


def _resolve_default(
    settings: Settings, changes: list[LoopChange], address: "LedgerAddress | None" = None
) -> StateLocation:
    """The default loop: as it was changed while it was served, and in all else as the settings say."""
    catalogue, said = load_catalogue(settings), load_default_loop(settings)
    definition = fold_default_loop(said, changes)
    if definition != said:
        catalogue = load_loop_catalogue(settings, definition)
    return StateLocation(settings.state_dir, catalogue, definition, address)


def _read_changes_if_any(state_dir: Path) -> list[LoopChange]:
    """The changes of loops; none if there is no ledger yet, or none of this version."""
    try:
        return read_loop_changes(state_dir)
    except (ConfigurationError, StorageUnavailableError):  # whoever opens it says why it cannot be read
        return []


def _resolve_shared(settings: Settings, loop: str) -> StateLocation:
    try:  # the driver is an extra
        from bandstand.store.postgres.address import LedgerAddress  # noqa: PLC0415
        from bandstand.store.postgres.event_reader import open_shared_log  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigurationError("STATE_URL needs the driver: pip install 'bandstand[postgres]'") from None
    catalogue, address = load_catalogue(settings), LedgerAddress.parse(read_state_url(settings) or "")
    with open_shared_log(address, catalogue) as log:
        changes = log.list_loop_changes()
    if loop == DEFAULT_LOOP:
        return _resolve_default(settings, changes, address)
    if (definition := find_loop_definition(changes, loop)) is None:
        raise ConfigurationError(f"the ledger of STATE_URL knows no loop {loop!a}")
    made = [change.place for change in changes if (change.name, change.action) == (loop, "create")]
    place = made[-1]
    return StateLocation(
        get_loop_directory(settings, place or loop),
        load_loop_catalogue(settings, definition),
        definition,
        address if place is None else replace(address, schema=place),
    )


def build_path(path: str, loop: str | None) -> str:
    """The path of a route in a loop of a running service."""
    return path if loop is None else f"/loops/{quote(loop, safe='')}{path}"


def _split_directory(settings: Settings) -> tuple[Settings, str]:
    """The settings with the service's own state directory, and which loop of it was named."""
    directory = settings.state_dir.absolute()
    outer = LoopDirectories.find_outer(directory)
    if outer is None:
        return settings, DEFAULT_LOOP
    return settings.model_copy(update={"state_dir": outer}), directory.name
