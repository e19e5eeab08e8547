"""What an admin of a Personalizer resource calls: its service configuration and its policy."""

from collections.abc import Callable
from typing import Any

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.errors import ConfigurationError, InvalidRequestError, LoopRefusedError
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.policy_arguments import DEFAULT_EXPLORATION, PolicyArguments, build_default_arguments
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.personalizer.settings import get_exploration, read_policy, write_configuration, write_policy

_INVALID_SERVICE = "InvalidServiceConfiguration"
_INVALID_POLICY = "InvalidPolicyConfiguration"
_REFUSALS = (ConfigurationError, InvalidRequestError, LoopRefusedError)


class AdminCalls:
    """Answers the calls about what a loop is.

    What they change is in the ledger, as every change of a loop is; nothing that was learned is lost by it.
    """

    def __init__(self, loop: PersonalizerLoop) -> None:
        self._loop = loop

    async def get_service(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/configurations/service``; of an apprentice, the newer version says too how it does."""
        configuration = self._loop.configuration
        answer = configuration.to_wire()
        if request.shape == "query" and configuration.learning_mode == "Apprentice":
            answer["latestApprenticeModeMetrics"] = await self._build_apprentice_metrics(configuration.edited)
        return request.answer(200, answer)

    async def _build_apprentice_metrics(self, since: float | None) -> dict[str, Any]:
        sums = await self._loop.load_apprentice_sums()
        found = {
            "numberOfEvents": sums.decisions,
            "numberOfImitatedEvents": sums.agreed,
            "sumOfRewards": sums.r,
            "sumOfImitatedRewards": sums.wr,  # each reward by the probability that the policy would have done the same
        }
        start, now = format_date(since or 0.0), format_date(self._loop.clock())
        return {**found, "startTime": start, "lastProcessedEventTime": now, "lastBatchMetrics": found}

    async def put_service(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/configurations/service``."""
        before = self._loop.configuration
        body = await request.read_object(_INVALID_SERVICE)
        after = before.change(body, self._loop.clock())
        names_wait = body.get("rewardWaitTime") is not None

        def write(definition: LoopDefinition) -> LoopDefinition:
            return write_configuration(definition, self._loop.policy, before, after, names_wait=names_wait)

        await self._change(write, request.inner.client, _INVALID_SERVICE)
        return request.answer(200, after.to_wire())

    async def get_policy(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/configurations/policy``."""
        return _answer_policy(request, *self._get_policy())

    def _get_policy(self) -> tuple[str, str]:
        """Its name and its arguments, as they were asked for, or as they would be."""
        policy = self._loop.policy
        return read_policy(self._loop.definition) or (policy.name, build_default_arguments(get_exploration(policy)))

    async def put_policy(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/configurations/policy``."""
        asked = PolicyArguments.parse_body(await request.read_object("InvalidPolicyContract"))
        if (asked.name, asked.text) != self._get_policy():  # to put back what was got changes nothing in any loop
            await self.change_policy(asked, request.inner.client)
        return _answer_policy(request, asked.name, asked.text)

    async def reset_policy(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/configurations/policy``: Personalizer's own default."""
        await self.change_policy(None, request.inner.client)
        return _answer_policy(request, self._loop.policy.name, build_default_arguments(DEFAULT_EXPLORATION))

    async def change_policy(self, asked: PolicyArguments | None, client: str, evaluation: str | None = None) -> None:
        """Set the loop's policy to the requested one, or to the default.

        Args:
            asked: what it is to be; the default for ``None``.
            client: name of the API key.
            evaluation: id of the evaluation that it is taken from, if it is from one.

        Raises:
            PersonalizerError: the loop refuses.
        """

        def write(definition: LoopDefinition) -> LoopDefinition:
            return write_policy(definition, self._loop.policy, asked, evaluation)

        await self._change(write, client, _INVALID_POLICY)

    async def _change(self, write: Callable[[LoopDefinition], LoopDefinition], client: str, wire_code: str) -> None:
        try:
            await self._loop.change(write(self._loop.definition), client)
        except _REFUSALS as error:
            raise PersonalizerError(400, wire_code, error.detail) from None


def _answer_policy(request: PersonalizerRequest, name: str, arguments: str) -> ForeignResponse:
    return request.answer(200, {"name": name, "arguments": arguments})
