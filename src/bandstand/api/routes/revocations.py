"""The routes that take rewards back, and tell what was taken back."""

from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.openapi import describe_operation
from bandstand.api.schemas.requests import parse_body
from bandstand.api.schemas.revocations import REVOCATION, REVOCATION_EXAMPLES, Revocation, Revocations
from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError, UnknownDecisionError
from bandstand.service.context import ServiceContext
from bandstand.service.undo import list_undos, undo
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.undo import Selection

_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build_revocations_router(deployment: ServiceContext) -> APIRouter:
    """The routes over one deployment."""
    routes = APIRouter(tags=["operators"])
    writing = (OverloadedError, StorageUnavailableError, StorageFullError)
    extra = describe_operation(UnknownDecisionError, *writing, body="RevocationRequest", examples=REVOCATION_EXAMPLES)

    @routes.post("/revocations", response_model=Revocation, openapi_extra=extra)
    async def revoke(request: Request) -> dict[str, Any]:
        """Take rewards back out of what they taught, all or none, and learn the priors again without them."""
        body = parse_body(REVOCATION, await read_json_body(request.receive, dict(request.headers.raw)))
        dry_run = body.pop("dry_run", False)
        selection = Selection(**{name: _to_seconds(value) for name, value in body.items()})
        return await undo(deployment, selection, cast("str", request.state.client), dry_run=dry_run)

    @routes.get(
        "/revocations",
        response_model=Revocations,
        response_model_exclude_unset=True,
        openapi_extra=describe_operation(StorageUnavailableError),
    )
    async def revocations(
        before: Annotated[int, Query(ge=0, le=LAST_SEQ)] = LAST_SEQ,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 100,
    ) -> dict[str, Any]:
        """What was taken back, the newest first: who asked, when, what was meant, how much it was."""
        return await list_undos(deployment, before, limit)

    return routes


def _to_seconds(value: str | datetime) -> Any:
    """A time as seconds since the epoch; text as it is."""
    # Not timestamp(): a year that no clock of ours can show would be an error of the platform's.
    return (value - _EPOCH).total_seconds() if isinstance(value, datetime) else value
