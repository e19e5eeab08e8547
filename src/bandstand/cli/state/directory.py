"""The state directory a command works on, and the policies it is read with."""

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bandstand.bandit.catalogue import Catalogue
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import read_settings
from bandstand.errors import ConfigurationError

StateDir = Annotated[
    str | None, typer.Option(metavar="PATH", help="The state directory. Overrides STATE_DIR, whose default is state.")
]


class StateLocation(NamedTuple):
    """Where the state is and what is configured for it."""

    directory: Path
    catalogue: Catalogue


def resolve_location(state_dir: str | None) -> StateLocation:
    """Read the settings as the service would; the flag comes first.

    Raises:
        ConfigurationError: a setting, or the file of BANDSTAND_CONFIG, is wrong.
    """
    settings = read_settings(state_dir=state_dir)
    if state_dir is None and (settings.state_url is not None or settings.state_url_file is not None):
        raise ConfigurationError(
            "STATE_URL is set, and this command works on a directory: name one with --state-dir, or ask the running "
            "service with --url where the command has that"
        )
    return StateLocation(settings.state_dir, load_catalogue(settings))
