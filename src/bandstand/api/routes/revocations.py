"""The routes that take rewards back, and list what was taken back."""

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, EventCursor, PageSize, build_router, get_client, parse_request
from bandstand.api.schemas.revocations import REVOCATION, Revocation, Revocations
from bandstand.errors import StorageUnavailableError, UnknownDecisionError
from bandstand.service.context import ServiceContext
from bandstand.service.undo import UndoList, UndoResult, list_undos, undo
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.undo import Selection


def build_revocations_router(deployment: ServiceContext) -> APIRouter:
    """The routes over one deployment."""
    routes = build_router("operators")
    extra = describe_operation(UnknownDecisionError, *WRITE_ERRORS, body=REVOCATION)

    @routes.post("/revocations", response_model=Revocation, openapi_extra=extra)
    async def revoke(request: Request) -> UndoResult:
        """Take rewards back out of what they taught, all or none, and learn the priors again without them."""
        body = await parse_request(request, REVOCATION)
        dry_run = body.pop("dry_run", False)
        selection = Selection(**body)
        return await undo(deployment, selection, get_client(request), dry_run=dry_run)

    @routes.get(
        "/revocations",
        response_model=Revocations,
        response_model_exclude_unset=True,
        openapi_extra=describe_operation(StorageUnavailableError),
    )
    async def revocations(before: EventCursor = LAST_SEQ, limit: PageSize = 100) -> UndoList:
        """What was taken back, newest first: who did it, when, what was selected, how much it was."""
        return await list_undos(deployment, before, limit)

    return routes
