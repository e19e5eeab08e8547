"""What of a loop can be changed, and what only the settings say."""

from typing import Final

from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.errors import ConfigurationError, FieldError, InvalidRequestError

SCOPE_IS_FIXED: Final = "whose the models are is for good; make another loop"
_SAID_BY_SETTINGS: Final = "of the default loop the settings say it"
_FROM_SETTINGS: Final = ("policy", "shadow", "include", "schemas", "policies", "retention_days")


def require_changeable(before: LoopDefinition, after: LoopDefinition) -> None:
    """Refuse a definition that says what cannot be changed in this loop.

    Raises:
        InvalidRequestError: it does; every such field is named.
    """
    faults = [FieldError("scope", SCOPE_IS_FIXED)] if before.scope != after.scope else []
    if before.name == DEFAULT_LOOP:
        if before.rewards.reactions != after.rewards.reactions:
            faults.append(FieldError("rewards.reactions", _SAID_BY_SETTINGS))
        faults += [
            FieldError(key, _SAID_BY_SETTINGS) for key in _FROM_SETTINGS if getattr(before, key) != getattr(after, key)
        ]
    if faults:
        raise InvalidRequestError(f"{faults[0].field}: {faults[0].message}", faults)


def merge_default(before: LoopDefinition, wanted: LoopDefinition) -> LoopDefinition:
    """The default loop as the file has it: what it does not say, the settings do.

    Raises:
        ConfigurationError: it says what only the settings can.
    """
    unsaid = LoopDefinition(name=DEFAULT_LOOP)
    faults = [
        FieldError(f"loops.default.{key}", _SAID_BY_SETTINGS)
        for key in ("scope", *_FROM_SETTINGS)
        if getattr(wanted, key) not in (getattr(before, key), getattr(unsaid, key))
    ]
    if wanted.rewards.reactions not in (before.rewards.reactions, unsaid.rewards.reactions):
        faults.append(FieldError("loops.default.rewards.reactions", _SAID_BY_SETTINGS))
    if faults:
        raise ConfigurationError(f"{faults[0].field}: {faults[0].message}", faults)
    return wanted.apply_to(before)


def is_applicable(before: LoopDefinition, after: LoopDefinition) -> bool:
    """Whether a definition can be put into effect while its loop runs.

    The wire of a loop is made as it is opened, with the actions of its table of reactions.
    """
    return before.rewards.reactions == after.rewards.reactions and after.apply_to(before) == after
