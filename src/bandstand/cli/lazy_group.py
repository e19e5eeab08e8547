"""The commands of ``bandstand``, each imported when it is used: starting one does not load what another needs."""

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group


@dataclass(frozen=True, slots=True)
class CommandSource:
    """Where a command is found.

    Attributes:
        module: the module that holds it.
        attribute: the function there that is the command, or the ``typer.Typer`` that is a group of them.
        hidden: whether help leaves it out: a child of a service, which nobody types.
    """

    module: str
    attribute: str
    hidden: bool = False


COMMANDS = {
    "serve": CommandSource("bandstand.cli.serve", "serve"),
    "demo": CommandSource("bandstand.cli.demo", "demo"),
    "demo-users": CommandSource("bandstand.cli.demo", "play_demo_users", hidden=True),
    "simulate": CommandSource("bandstand.cli.simulate.commands", "simulate"),
    "evaluate": CommandSource("bandstand.cli.evaluate.commands", "evaluate"),
    "evaluate-run": CommandSource("bandstand.cli.evaluate.commands", "evaluate_run", hidden=True),
    "report": CommandSource("bandstand.cli.gain", "report"),
    "shown": CommandSource("bandstand.cli.shown", "shown"),
    "settings": CommandSource("bandstand.cli.settings", "print_settings"),
    "openapi": CommandSource("bandstand.cli.openapi", "print_openapi"),
    "judge": CommandSource("bandstand.cli.judge.commands", "judge"),
    "judge-turns": CommandSource("bandstand.cli.judge.worker", "judge_turns", hidden=True),
    "judge-run": CommandSource("bandstand.cli.judge.background", "judge_run", hidden=True),
    "state": CommandSource("bandstand.cli.state.commands", "state"),
    "log": CommandSource("bandstand.cli.event_log", "log"),
    "population": CommandSource("bandstand.cli.population", "population"),
}
"""Every command by its name, in the order in which help lists them."""


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are looked up."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _LazyCommands()


class _LazyCommands(MutableMapping[str, Any]):
    """The commands by name; their names are known before any is imported."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load_command(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS | self._loaded)

    def __len__(self) -> int:
        return len(COMMANDS | self._loaded)


def _load_command(name: str, source: CommandSource) -> Any:
    found = getattr(importlib.import_module(source.module), source.attribute)
    only = typer.Typer(pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        only.add_typer(found, name=name)
    else:
        only.command(name, hidden=source.hidden)(found)
    return get_group(only).commands[name]
