"""The state directory a command works on, and the policies it is read with."""

from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import quote

import typer

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.config.catalogue import load_catalogue
from bandstand.config.loops import get_loop_directory, load_loop_catalogue, load_loops
from bandstand.config.settings import Settings, read_settings
from bandstand.errors import ConfigurationError
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.loops import read_loop_definition

StateDir = Annotated[
    str | None, typer.Option(metavar="PATH", help="The state directory. Overrides STATE_DIR, whose default is state.")
]
LoopName = Annotated[str | None, typer.Option("--loop", metavar="NAME", help="In this loop; default if left out.")]


class StateLocation(NamedTuple):
    """Where the state is, what is configured for it, and which loop's it is."""

    directory: Path
    catalogue: Catalogue
    definition: LoopDefinition = LoopDefinition(name=DEFAULT_LOOP)


def resolve_location(state_dir: str | None, loop: str | None = None) -> StateLocation:
    """Read the settings as the service would; the flags come first.

    Args:
        state_dir: the service's state directory; or that of a loop in it, which is then meant.
        loop: one of its loops; the default one if left out.

    Raises:
        ConfigurationError: a setting, or the file of BANDSTAND_CONFIG, is wrong; or there is no such loop.
    """
    settings = read_settings(state_dir=state_dir)
    if state_dir is None and (settings.state_url is not None or settings.state_url_file is not None):
        raise ConfigurationError(
            "STATE_URL is set, and this command works on a directory: name one with --state-dir, or ask the running "
            "service with --url where the command has that"
        )
    if loop is None:
        settings, loop = _split_directory(settings)
    if loop == DEFAULT_LOOP:
        return StateLocation(settings.state_dir, load_catalogue(settings))
    definition = read_loop_definition(settings.state_dir, loop) or load_loops(settings).get(loop)
    if definition is None:
        raise ConfigurationError(f"STATE_DIR {str(settings.state_dir)!r} knows no loop {loop!a}")
    return StateLocation(get_loop_directory(settings, loop), load_loop_catalogue(settings, definition), definition)


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
