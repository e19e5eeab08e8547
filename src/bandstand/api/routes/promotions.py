"""The routes that change which policy is active."""

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, build_router, get_client, parse_request
from bandstand.api.schemas.launches import LAUNCH, Launch, NewestLaunch
from bandstand.api.schemas.learning import ActivePolicy
from bandstand.errors import PromotionRefusedError, StorageUnavailableError
from bandstand.service import launch, promotion
from bandstand.service.context import ServiceContext
from bandstand.service.launch import HandAction, LaunchAnswer, LaunchStatus
from bandstand.service.promotion import ActivePolicyStatus

_CHANGES = describe_operation(PromotionRefusedError, *WRITE_ERRORS)
_STARTS = describe_operation(PromotionRefusedError, *WRITE_ERRORS, body=LAUNCH)
_LOOKS = describe_operation(StorageUnavailableError)


def build_promotions_router(deployment: ServiceContext) -> APIRouter:
    """Promote and demote over one deployment."""
    routes = build_router("operators")

    @routes.post("/policies/{policy:id}/promote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def promote(request: Request, policy: str) -> ActivePolicyStatus:
        """Make a policy the one that un-named requests mean, at once and for good. Idempotent."""
        return await promotion.promote(deployment, policy, get_client(request))

    @routes.post("/policies/{policy:id}/demote", response_model=ActivePolicy, openapi_extra=_CHANGES)
    async def demote(request: Request, policy: str) -> ActivePolicyStatus:
        """Go back from a policy to the one promoted before it, or to the default. Idempotent."""
        return await promotion.demote(deployment, policy, get_client(request))

    @routes.post("/policies/{policy:id}/launch", response_model=Launch, openapi_extra=_STARTS)
    async def start_launch(request: Request, policy: str) -> LaunchStatus:
        """Give a policy a growing share of the users, by itself as long as its results allow it, up to promotion."""
        body = await parse_request(request, LAUNCH)
        return await launch.start_launch(deployment, policy, body, get_client(request))

    @routes.get("/policies/{policy:id}/launch", response_model=NewestLaunch, openapi_extra=_LOOKS)
    async def show_launch(policy: str) -> LaunchAnswer:
        """How the newest launch of a policy stands, and its steps with their figures; null if there was none."""
        return LaunchAnswer(launch=await launch.find_launch_status(deployment, policy))

    @routes.post("/policies/{policy:id}/launch/{action}", response_model=Launch, openapi_extra=_CHANGES)
    async def act_on_launch(request: Request, policy: str, action: HandAction) -> LaunchStatus:
        """By hand: hold it where it is, let it continue, go to the next step, go back, or cancel."""
        return await launch.act_on_launch(deployment, policy, action, get_client(request))

    return routes
