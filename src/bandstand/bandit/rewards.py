"""What a user did, as a number a model can learn from (contract A4)."""

from typing import TypeGuard

from bandstand.bandit.reaction_table import CONTRACT_REACTIONS
from bandstand.errors import FieldError, InvalidRequestError


def compute_reaction_reward(action: str, dwell_ms: float | None = None) -> float:
    """Return the reward of a reaction: ``dismiss`` −1, ``snooze`` +0.1, ``done`` by how long it took.

    Args:
        action: ``dismiss``, ``snooze`` or ``done``.
        dwell_ms: milliseconds from showing the tip to the action; required for ``done``.

    Raises:
        InvalidRequestError: the action is unknown, the dwell is missing, negative or not finite.

    >>> compute_reaction_reward("done", 14_999), compute_reaction_reward("done", 15_000)
    (-0.3, 1.0)
    """
    return CONTRACT_REACTIONS.compute_reward(action, dwell_ms)


def validate_reward(value: object) -> float:
    """Return a reward as a float once it is known to be finite and in [−1, 1].

    Raises:
        InvalidRequestError: it is not, or not a number (true and false are none).
    """
    if _is_real(value) and -1.0 <= value <= 1.0:
        return float(value)
    raise _build_error("reward", "must be a finite number in [-1, 1]")


def _is_real(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _build_error(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field} {message}.", [FieldError(field, message)])
