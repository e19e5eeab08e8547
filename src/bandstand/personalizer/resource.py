"""The calls about what a Personalizer resource holds: its logs and its model."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError, build_headers
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.routing import PersonalizerRequest

_PAGE = 1000
_GZIP = b"\x1f\x8b"


class DecisionTimes(Protocol):
    """Tells when decisions were made."""

    async def find_decision_times(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` where there is none."""


class ResourceLog(DecisionTimes, Protocol):
    """The decisions and rewards of a loop."""

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays."""


class ResourceCalls:
    """Answers them.

    Args:
        loop: whose they are.
        log: its decisions and rewards.
        export_model: gives the state of every user as lines of JSON, compressed; it blocks.
    """

    def __init__(self, loop: PersonalizerLoop, log: ResourceLog, export_model: Callable[[], bytes]) -> None:
        self._loop = loop
        self._log = log
        self._export_model = export_model

    async def get_log_properties(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/logs/properties``."""
        found = await self._log.find_decision_times()
        if found is None:
            raise PersonalizerError(404, "LogsPropertiesNotFound", "nothing is logged")
        first, last = map(format_date, found)
        return request.answer(200, {"dateRange": {"from": first, "to": last}})

    async def delete_logs(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/logs``: decisions and rewards go, and what was learned from them stays."""
        await self._log.delete_log()
        return request.answer(204)

    async def get_model(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/model``: the states of all users, as `bandstand state import` takes them."""
        body = await asyncio.to_thread(self._export_model)
        return ForeignResponse(200, build_headers(request.inner.headers, b"application/octet-stream"), body)

    async def put_model(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/model``: an import needs the state for itself.

        Raises:
            PersonalizerError: always; says how it is done.
        """
        event = await request.inner.receive()
        if not event.get("body", b"").startswith(_GZIP):
            raise PersonalizerError(400, "InvalidModelImportFormat", "this is no model that GET …/model has given")
        message = "stop the service and run `bandstand state import` on what this file holds, unpacked"
        raise PersonalizerError(503, "OperationNotAllowed", message)

    async def reset_model(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/model``: everybody's model begins anew."""
        deployment = self._loop.deployment
        for owner in [EVERYBODY] if deployment.has_one_model else await self._list_users():
            await deployment.store.reset(owner, request.inner.client)
            deployment.population.apply_reset(owner)
        return request.answer(204)

    async def _list_users(self) -> list[str]:
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            page = await self._loop.deployment.store.list_users("", after, _PAGE)
            found += page.users
            after = page.next
        return found

    async def get_model_properties(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/model/properties``."""
        found = await self._log.find_decision_times()
        now = self._loop.clock()
        first, last = map(format_date, found or (now, now))
        return request.answer(200, {"creationTime": first, "lastModifiedTime": last})
