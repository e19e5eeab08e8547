"""The loop behind the wire: the one decision point that a Personalizer resource was."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from bandstand.api.schemas.requests import validate_id
from bandstand.bandit.features import Field
from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.bandit.policies import Policy
from bandstand.errors import InvalidRequestError, LoopRefusedError, UnknownDecisionError
from bandstand.personalizer.configuration import ServiceConfiguration
from bandstand.personalizer.explanation import build_explanation
from bandstand.personalizer.rank import refuse_rank
from bandstand.personalizer.settings import read_configuration
from bandstand.service import activation
from bandstand.service.context import ServiceContext
from bandstand.service.explanation import load_user_theta
from bandstand.service.loops import Loops
from bandstand.store.tables.shadows import ShadowSums

EVERYBODY = "default"
"""Whose model answers where no user is named."""


class PersonalizerLoop:
    """What the calls need of a loop.

    Args:
        deployment: what decides and learns.
        loops: the service's, where this one can be changed.
        retention_days: how long its log is kept; 0 for ever.

    Attributes:
        deployment: as above.
        everybody: the user that all callers are who name none.
    """

    def __init__(self, deployment: ServiceContext, loops: Loops | None, *, retention_days: int = 0) -> None:
        self.deployment = deployment
        self.everybody = EVERYBODY
        self._loops = loops
        self._retention_days = retention_days

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""
        return self.deployment.clock

    @property
    def definition(self) -> LoopDefinition:
        """What the loop is now."""
        definition = self.deployment.definition
        return definition if self._loops is None else self._loops.get(definition.name).definition

    @property
    def policy(self) -> Policy:
        """The active policy; of an apprentice, what learns."""
        return self.deployment.catalogue.policies[self.deployment.active_policy]

    @property
    def configuration(self) -> ServiceConfiguration:
        """What an admin has made of it."""
        edited = None if self._loops is None else self._loops.get(self.deployment.definition.name).changed_at
        return read_configuration(self.definition, self.policy, edited, self._retention_days)

    @property
    def explains(self) -> bool:
        """Whether answers say why."""
        return bool(self.deployment.definition.personalizer.get("explains"))

    @property
    def reward_wait_s(self) -> float:
        """Seconds for which a reward is waited for."""
        return self.configuration.reward_wait_s

    async def change(self, definition: LoopDefinition, client: str) -> None:
        """Give the loop another definition.

        Raises:
            InvalidRequestError, LoopRefusedError: it cannot be so, and all is as before.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing has changed.
        """
        if self._loops is None:
            raise LoopRefusedError("this loop cannot be changed while it is served")
        await self._loops.change(definition, client)

    async def run_closed(self, work: Callable[[], None]) -> None:
        """Run what needs the loop's state for itself, while requests wait; see :meth:`Loops.run_closed`."""
        if self._loops is None:
            raise LoopRefusedError("this loop is not closed while it is served")
        await self._loops.run_closed(self.deployment.definition.name, work)

    async def load_apprentice_sums(self) -> ShadowSums:
        """What the policy would have done with the baseline's decisions, and what these earned."""
        ref = self.deployment.policy_refs[self.policy.name]
        return (await self.deployment.store.load_shadow_sums()).get(ref, ShadowSums())

    async def activate(self, event_id: str, client: str) -> bool:
        """Say that a decision was shown; whether there is such a decision."""
        try:
            await activation.activate(self.deployment, event_id, client)
        except UnknownDecisionError:
            return False
        return True

    def check_fields(self, request: Mapping[str, Any]) -> None:
        """Check features by the rules of the fields that the loop's schema names.

        Raises:
            PersonalizerError: one does not fit its field.
        """
        schema = self.deployment.get_policy(None, request["user_id"]).schema
        _check_values("contextFeatures", schema.context_fields, request["context"])
        for number, candidate in enumerate(request["candidates"]):
            _check_values(f"actions[{number}].features", schema.candidate_fields, candidate["features"])

    def find_user(self, context: Mapping[str, Any]) -> str | None:
        """The user whom a call's context names where the loop says it does; ``None`` for nobody.

        Raises:
            PersonalizerError: what stands there is no id.
        """
        path = self.deployment.definition.personalizer.get("user")
        if path is None:
            return None
        value: Any = context
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            return None
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise refuse_rank(f"contextFeatures: {path} must be a user's id")
        try:
            return validate_id(str(value), f"contextFeatures: {path}")
        except InvalidRequestError as error:
            raise refuse_rank(error.detail) from None

    async def explain_pick(self, request: Mapping[str, Any], action_id: str) -> list[dict[str, Any]]:
        """What each feature adds to an action's mean, in the form of the wire."""
        policy = self.deployment.get_policy(None, request["user_id"])
        owner = self.deployment.get_owner(request["user_id"])
        theta = await load_user_theta(self.deployment, policy, owner)
        (candidate,) = [each for each in request["candidates"] if each["id"] == action_id]
        (features,) = policy.schema.read_candidates([candidate])
        explained = await asyncio.to_thread(build_explanation, policy.schema, theta, request["context"], features)
        return [{"id": action_id, "features": explained}]


def _check_values(place: str, fields: Mapping[str, Field], values: Mapping[str, Any]) -> None:
    for name, field in fields.items():
        if name in values and not field.are_valid([values[name]]):
            raise refuse_rank(f"{place}: {name} does not fit what the loop's schema says of it")
