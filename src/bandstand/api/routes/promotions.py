"""The routes that change which policy is active."""

from typing import Any, cast

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.schemas.learning import ActivePolicy
from bandstand.errors import (
    OverloadedError,
    PromotionRefusedError,
    StorageFullError,
    StorageUnavailableError,
)
from bandstand.service import promotion
from bandstand.service.context import ServiceContext

_CHANGES = describe_operation(PromotionRefusedError, OverloadedError, StorageUnavailableError, StorageFullError)


def build_promotions_router(deployment: ServiceContext) -> APIRouter:
    """Promote and demote over one deployment."""
    routes = APIRouter(tags=["operators"])

    @routes.post("/policies/{policy:id}/promote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def promote(request: Request, policy: str) -> dict[str, Any]:
        """Make a policy the one that un-named requests mean, at once and for good. Idempotent."""
        return await promotion.promote(deployment, policy, _get_client(request))

    @routes.post("/policies/{policy:id}/demote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def demote(request: Request, policy: str) -> dict[str, Any]:
        """Go back from a policy to the one promoted before it, or to the default. Idempotent."""
        return await promotion.demote(deployment, policy, _get_client(request))

    return routes


def _get_client(request: Request) -> str:
    return cast("str", request.state.client)
