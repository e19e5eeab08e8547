"""The route that applies the present table to reactions of the past."""

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, build_router, get_client, parse_request
from bandstand.api.schemas.reactions import REAPPLICATION, Reapplication
from bandstand.service.context import ServiceContext
from bandstand.service.reactions import ReactionRevision, reapply_reactions


def build_reactions_router(deployment: ServiceContext) -> APIRouter:
    """The routes over one deployment."""
    routes = build_router("operators")

    @routes.post(
        "/reactions/reapply",
        response_model=Reapplication,
        openapi_extra=describe_operation(*WRITE_ERRORS, body=REAPPLICATION),
    )
    async def reapply_table(request: Request) -> ReactionRevision:
        """Give past reactions the rewards of the present table; a dry run unless `dry_run` is false."""
        body = await parse_request(request, REAPPLICATION)
        return await reapply_reactions(
            deployment, get_client(request), since=body.get("since"), dry_run=body.get("dry_run", True)
        )

    return routes
