"""What of a loop can be changed, and what only the settings say."""

from collections.abc import Sequence
from typing import Final

from bandstand.bandit.loop_definition import CHANGEABLE, DEFAULT_LOOP, LoopDefinition
from bandstand.errors import ConfigurationError, FieldError, InvalidRequestError
from bandstand.store.tables.loops import LoopChange

SETTINGS_CLIENT: Final = "settings"
"""Who changes a loop where the configuration file does."""

SCOPE_IS_FIXED: Final = "whose the models are is for good; make another loop"
_ELSEWHERE: Final = "of the default loop the settings and the file's own tables say it"


def require_changeable(before: LoopDefinition, after: LoopDefinition, pinned_by: str | None = None) -> None:
    """Refuse a definition that says what cannot be changed in this loop.

    Args:
        before: what the loop is.
        after: what it is to be.
        pinned_by: the setting that says which of its policies serves, if one does.

    Raises:
        InvalidRequestError: it does; every such field is named.
    """
    faults = [FieldError("scope", SCOPE_IS_FIXED)] if before.scope != after.scope else []
    if pinned_by is not None and before.policy != after.policy:
        faults.append(FieldError("policy", f"{pinned_by} says who serves; unset it first"))
    if faults:
        raise InvalidRequestError(f"{faults[0].field}: {faults[0].message}", faults)


def require_said_elsewhere(said: LoopDefinition, wanted: LoopDefinition) -> None:
    """Refuse a table of the default loop that says more than mode, rewards, and what Personalizer's wire knows of it.

    Args:
        said: what the settings say of it.
        wanted: what the table says, and the settings where that says nothing.

    Raises:
        ConfigurationError: the table says what stands elsewhere.
    """
    faults = [
        FieldError(f"loops.{DEFAULT_LOOP}.{key}", _ELSEWHERE)
        for key in said.find_differences(wanted)
        if key not in CHANGEABLE
    ]
    if faults:
        raise ConfigurationError(f"{faults[0].field}: {faults[0].message}", faults)


def is_applied(changes: Sequence[LoopChange], wanted: LoopDefinition) -> bool:
    """Whether the file has said this of a loop when it was last applied; what others changed since is theirs."""
    applied = [change.after for change in changes if (change.name, change.client) == (wanted.name, SETTINGS_CLIENT)]
    if not applied or applied[-1] is None:
        return False
    said = LoopDefinition.parse(wanted.name, applied[-1])
    return (said.apply_to(wanted) if wanted.name == DEFAULT_LOOP else said) == wanted


def is_applicable(before: LoopDefinition, after: LoopDefinition) -> bool:
    """Whether a definition can be put into effect while its loop runs.

    The wire of a loop is made as it is opened, with the actions of its table of reactions.
    """
    return before.rewards.reactions == after.rewards.reactions and after.apply_to(before) == after
