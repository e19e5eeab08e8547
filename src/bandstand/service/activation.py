"""Activation: a decision that was held back has been shown, and from now on teaches what it is rewarded."""

from dataclasses import dataclass
from typing import Literal

from bandstand.service.context import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationResult:
    """The result of an activation.

    Attributes:
        activated: the decision counts as shown; ``reason`` says why not.
        applied: a reward that came before has taught its policy now.
        reward: what it taught; ``None`` if nothing had come.
    """

    ok: Literal[True] = True
    decision_id: str
    activated: bool
    applied: bool
    reward: float | None
    reason: str | None


async def activate(deployment: ServiceContext, decision_id: str, client: str) -> ActivationResult:
    """Let a decision count as shown. Idempotent; a decision that was not held back is not changed.

    Args:
        deployment: where.
        decision_id: which.
        client: name of the API key.

    Raises:
        UnknownDecisionError: there is no such decision, or no longer.
        OverloadedError, StorageFullError, StorageUnavailableError: it was not.
    """
    teaches = deployment.mode != "logging"
    activation = await deployment.store.activate(decision_id, deployment.reward_settings, client, teaches=teaches)
    reward = activation.reward
    if reward is not None:
        deployment.population.apply_reward(reward)
    return ActivationResult(
        decision_id=decision_id,
        activated=activation.activated,
        applied=reward is not None and reward.applied,
        reward=None if reward is None else reward.value,
        reason=activation.reason if reward is None else reward.reason,
    )
