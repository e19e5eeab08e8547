"""The calls about what a Personalizer resource holds: its logs and its model."""

import asyncio
from typing import Final, Protocol

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.api.problems import TooLargeError
from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.errors import InvalidRequestError
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError, build_headers
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.store.maintenance.export import ImportSource
from bandstand.store.maintenance.model_file import ModelFiles, read_model

_PAGE: Final = 1000
_MAX_FILE: Final = 64 * 1024 * 1024


class DecisionTimes(Protocol):
    """Finds when decisions were made."""

    async def find_decision_times(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """When the first and the last decision of a range of time were made; ``None`` if there is none."""


class ResourceLog(DecisionTimes, Protocol):
    """The decisions and rewards of a loop."""

    async def delete_log(self) -> None:
        """Delete every decision and reward until now; what was learned stays."""


class ResourceModel(Protocol):
    """Makes and takes files of what a loop has learned."""

    async def export(self) -> bytes:
        """The file of now."""

    async def replace(self, sources: list[ImportSource], *, now: float, client: str) -> None:
        """Put a file in the place of all that was learned.

        Raises:
            InvalidRequestError: it is not of this loop.
        """


class ClosedModel:
    """The model of a state directory, which is put back while the loop is closed.

    Args:
        loop: whose it is.
        files: in its directory.
    """

    def __init__(self, loop: PersonalizerLoop, files: ModelFiles) -> None:
        self._loop = loop
        self._files = files

    async def export(self) -> bytes:
        """The file of now."""
        return await asyncio.to_thread(self._files.export)

    async def replace(self, sources: list[ImportSource], *, now: float, client: str) -> None:
        """Put a file in the place of all that was learned, while requests wait."""
        await self._loop.run_closed(lambda: self._files.replace(sources, now=now, client=client))


class ResourceCalls:
    """Answers them.

    Args:
        loop: whose they are.
        log: its decisions and rewards.
        model: makes and takes files of what it has learned.
    """

    def __init__(self, loop: PersonalizerLoop, log: ResourceLog, model: ResourceModel) -> None:
        self._loop = loop
        self._log = log
        self._model = model

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
        """``GET …/model``: the states of all users."""
        body = await self._model.export()
        return ForeignResponse(200, build_headers(request.inner.headers, b"application/octet-stream"), body)

    async def put_model(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/model``: what a file of :meth:`get_model` holds, in the place of all that was learned.

        Raises:
            PersonalizerError: it is no such file, or not of this loop.
        """
        packed = await _read_file(request)
        now, client = self._loop.clock(), request.inner.client
        try:
            sources = await asyncio.to_thread(read_model, packed)
            await self._model.replace(sources, now=now, client=client)
        except InvalidRequestError as error:
            raise PersonalizerError(400, "InvalidModelImportFormat", error.detail) from None
        return request.answer(204)

    async def reset_model(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/model``: everybody's model begins again."""
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


async def _read_file(request: PersonalizerRequest) -> bytes:
    """The body's bytes, of whatever type.

    Raises:
        PersonalizerError: the caller went away in the middle of it.
        TooLargeError: over 64 MiB.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        event = await request.inner.receive()
        if event["type"] == "http.disconnect":
            raise PersonalizerError(400, "InvalidModelImportFormat", "the file ended early")
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_FILE:
            message = "a model may have up to 64 MiB here: use `bandstand state import`"
            raise TooLargeError(message)
        more = event.get("more_body", False)
    return b"".join(parts)
