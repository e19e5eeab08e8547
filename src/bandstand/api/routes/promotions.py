"""The routes that change which policy is active."""

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, get_client
from bandstand.api.schemas.learning import ActivePolicy
from bandstand.errors import PromotionRefusedError
from bandstand.service import promotion
from bandstand.service.context import ServiceContext
from bandstand.service.promotion import ActivePolicyStatus

_CHANGES = describe_operation(PromotionRefusedError, *WRITE_ERRORS)


def build_promotions_router(deployment: ServiceContext) -> APIRouter:
    """Promote and demote over one deployment."""
    routes = APIRouter(tags=["operators"])

    @routes.post("/policies/{policy:id}/promote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def promote(request: Request, policy: str) -> ActivePolicyStatus:
        """Make a policy the one that un-named requests mean, at once and for good. Idempotent."""
        return await promotion.promote(deployment, policy, get_client(request))

    @routes.post("/policies/{policy:id}/demote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def demote(request: Request, policy: str) -> ActivePolicyStatus:
        """Go back from a policy to the one promoted before it, or to the default. Idempotent."""
        return await promotion.demote(deployment, policy, get_client(request))

    return routes
