"""The routes that look: what was learned, what was decided, which policies there are."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.problems import from_field_errors
from bandstand.api.routes.helpers import build_router, may_see_content
from bandstand.api.schemas.learning import History, Policies, Receipt, UserStats
from bandstand.api.schemas.requests import validate_id
from bandstand.api.schemas.stats import DeploymentStats
from bandstand.errors import FieldError, StorageUnavailableError, UnknownDecisionError
from bandstand.service.content import withhold_features, withhold_shown
from bandstand.service.context import ServiceContext
from bandstand.service.history import DecisionReceipt, UserHistory, load_history, load_receipt
from bandstand.service.policies import PolicyOverview, build_overview
from bandstand.service.stats import DeploymentSummary, UserPolicyStats, load_deployment_stats, load_user_stats

_READ = describe_operation(StorageUnavailableError)

UserId = Annotated[str | None, Query(description="Any user id, also one that a path cannot hold")]
PolicyName = Annotated[str | None, Query(description="A policy or alias; the active one if left out")]

Explain = Annotated[bool, Query(description="Also take each candidate's mean apart by feature, as believed now")]


def build_stats_router(deployment: ServiceContext) -> APIRouter:
    """The routes over one deployment."""
    routes = build_router("sight")

    @routes.get("/stats", response_model=UserStats | DeploymentStats, openapi_extra=_READ)
    async def stats_of(user_id: UserId = None, policy: PolicyName = None) -> UserPolicyStats | DeploymentSummary:
        """The whole deployment's numbers; with `user_id`, that user's."""
        if user_id is None:
            if policy is not None:
                raise from_field_errors(FieldError("user_id", "required with policy"))
            return await load_deployment_stats(deployment)
        return await load_user_stats(deployment, validate_id(user_id, "user_id"), policy)

    @routes.get("/stats/{user_id:id}", response_model=UserStats, openapi_extra=_READ)
    async def user_stats(user_id: str) -> UserPolicyStats:
        """What the active policy knows of a user; zeros for a user never met."""
        return await load_user_stats(deployment, validate_id(user_id, "user_id"))

    @routes.get("/stats/{policy:id}/{user_id:id}", response_model=UserStats, openapi_extra=_READ)
    async def user_policy_stats(policy: str, user_id: str) -> UserPolicyStats:
        """What a named policy knows of a user."""
        return await load_user_stats(deployment, validate_id(user_id, "user_id"), policy)

    @routes.get("/features", response_model=History, openapi_extra=_READ)
    async def features_of(request: Request, user_id: str) -> UserHistory:
        """The user's newest 100 decisions, oldest first."""
        history = await load_history(deployment, validate_id(user_id, "user_id"))
        return history if may_see_content(request) else withhold_features(history)

    @routes.get("/features/{user_id:id}", response_model=History, openapi_extra=_READ)
    async def features(request: Request, user_id: str) -> UserHistory:
        """The user's newest 100 decisions, oldest first."""
        return await features_of(request, user_id)

    @routes.get(
        "/decisions/{decision_id:id}",
        response_model=Receipt,
        openapi_extra=describe_operation(UnknownDecisionError, StorageUnavailableError),
    )
    async def decision(request: Request, decision_id: str, explain: Explain = False) -> DecisionReceipt:  # noqa: FBT002 (FastAPI's form of a query parameter)
        """The receipt of a decision, from which its pick can be computed again."""
        receipt = await load_receipt(deployment, validate_id(decision_id, "decision_id"), explain=explain)
        return receipt if may_see_content(request) else withhold_shown(receipt)

    @routes.get("/policies", response_model=Policies)
    async def policy_list() -> PolicyOverview:
        """The configured policies, which one is active, and how that came about."""
        return build_overview(deployment)

    return routes
