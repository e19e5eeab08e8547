"""The routes, as the framework and OpenAPI know them."""

from contextlib import suppress
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.convertors import Convertor, register_url_convertor

from bandstand import __version__
from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.asgi.fast_path import EncodedResponse, HotPath, RequestMetadata
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.asgi.raw_path import decode_segment
from bandstand.api.openapi import describe_operation
from bandstand.api.problems import NotReadyError, from_field_errors
from bandstand.api.schemas.examples import RESET_EXAMPLES, REWARD_EXAMPLES, SCORE_EXAMPLES
from bandstand.api.schemas.judgements import Judgement, TurnTaken
from bandstand.api.schemas.learning import (
    Erased,
    Health,
    History,
    Ok,
    Policies,
    Ready,
    Receipt,
    RewardResponse,
    ScoreResponse,
    Users,
    UserStats,
)
from bandstand.api.schemas.requests import Wire, parse_body, validate_id
from bandstand.api.schemas.stats import DeploymentStats
from bandstand.errors import (
    AlreadyRewardedError,
    DecisionConflictError,
    FieldError,
    IdempotencyMismatchError,
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
    UnknownDecisionError,
    WrongPolicyError,
)
from bandstand.judge.cascade import JudgeOffError
from bandstand.service import experiment, history, policies, stats, users
from bandstand.service.context import ServiceContext
from bandstand.store.records import LAST_SEQ
from bandstand.store.tables.judgements import RewardPendingError

_PAGE = 1000
_WRITES = (OverloadedError, StorageUnavailableError, StorageFullError)
_REWARDING = (UnknownDecisionError, WrongPolicyError, AlreadyRewardedError, IdempotencyMismatchError)
_JUDGING = (RewardPendingError, JudgeOffError)
_TAKEN: dict[int | str, dict[str, Any]] = {
    202: {"model": TurnTaken, "description": "The turn is kept, and will be judged"}
}
_READ = describe_operation(StorageUnavailableError)


class _Segment(Convertor[str]):
    """One segment of the raw path."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return decode_segment(value)

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _Segment())

UserId = Annotated[str | None, Query(description="Any user id, also one that a path cannot hold")]
PolicyName = Annotated[str | None, Query(description="A policy or alias; the active one if left out")]


def build_router(deployment: ServiceContext, wire: Wire, hot: HotPath, metrics: Metrics) -> APIRouter:
    """All routes over one deployment."""
    routes = APIRouter()
    _add_learning_routes(routes, hot)
    _add_health_routes(routes, deployment, metrics)
    _add_read_routes(routes, deployment)
    _add_operator_routes(routes, deployment, wire)
    return routes


def _add_learning_routes(routes: APIRouter, hot: HotPath) -> None:
    score_extra = describe_operation(DecisionConflictError, *_WRITES, body="ScoreRequest", examples=SCORE_EXAMPLES)
    reward_extra = describe_operation(*_REWARDING, *_JUDGING, *_WRITES, body="RewardRequest", examples=REWARD_EXAMPLES)

    @routes.post("/score", response_model=ScoreResponse, openapi_extra=score_extra, tags=["learning"])
    async def score(request: Request) -> Response:
        """Pick one of the candidates with the active policy."""
        return await handle_score(request, None)

    @routes.post("/score/{policy:id}", response_model=ScoreResponse, openapi_extra=score_extra, tags=["learning"])
    async def score_with(request: Request, policy: str) -> Response:
        """Pick one of the candidates with a named policy (`linucb` and `egreedy` always mean v1)."""
        return await handle_score(request, policy)

    @routes.post(
        "/reward",
        response_model=RewardResponse | Judgement,
        responses=_TAKEN,
        openapi_extra=reward_extra,
        tags=["learning"],
    )
    async def reward(request: Request) -> Response:
        """Teach what the user did: by `decision_id`, or by the legacy fields (then the active policy learns)."""
        return await handle_reward(request, None)

    @routes.post(
        "/reward/{policy:id}",
        response_model=RewardResponse | Judgement,
        responses=_TAKEN,
        openapi_extra=reward_extra,
        tags=["learning"],
    )
    async def reward_to(request: Request, policy: str) -> Response:
        """Teach a named policy; a decision of another policy is a 422."""
        return await handle_reward(request, policy)

    async def handle_score(request: Request, policy: str | None) -> Response:
        headers = dict(request.headers.raw)
        body = await read_json_body(request.receive, headers)
        return _to_response(await hot.handle_score(body, _build_metadata(request, headers, policy)))

    async def handle_reward(request: Request, policy: str | None) -> Response:
        headers = dict(request.headers.raw)
        body = await read_json_body(request.receive, headers)
        return _to_response(await hot.handle_reward(body, _build_metadata(request, headers, policy)))


def _add_health_routes(routes: APIRouter, deployment: ServiceContext, metrics: Metrics) -> None:
    @routes.get("/health", response_model=Health, tags=["operations"])
    async def health() -> dict[str, Any]:
        """The process lives."""
        status = deployment.store.status()
        return {
            "ok": True,
            "version": __version__,
            "active_policy": deployment.active_policy,
            "durability": status.durability,
            "quarantined": status.quarantined,
            "last_error": status.last_error,
        }

    @routes.get("/ready", response_model=Ready, openapi_extra=describe_operation(NotReadyError), tags=["operations"])
    async def ready() -> dict[str, Any]:
        """The store takes events."""
        status = deployment.store.status()
        if status.state != "ready":
            message = f"the store is {status.state}"
            raise NotReadyError(message)
        return {"ready": True}

    @routes.get("/metrics", response_class=PlainTextResponse, tags=["operations"])
    async def metrics_text() -> Response:
        """Prometheus metrics."""
        with suppress(StorageUnavailableError):  # the rest can be told all the same
            metrics.record_experiment(await experiment.load_experiment_status(deployment))
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_read_routes(routes: APIRouter, deployment: ServiceContext) -> None:
    @routes.get("/stats", response_model=UserStats | DeploymentStats, openapi_extra=_READ, tags=["sight"])
    async def stats_of(user_id: UserId = None, policy: PolicyName = None) -> dict[str, Any]:
        """The whole deployment's numbers; with `user_id`, that user's."""
        if user_id is None:
            if policy is not None:
                raise from_field_errors(FieldError("user_id", "required with policy"))
            return await stats.load_deployment_stats(deployment)
        return await stats.load_user_stats(deployment, validate_id(user_id, "user_id"), policy)

    @routes.get("/stats/{user_id:id}", response_model=UserStats, openapi_extra=_READ, tags=["sight"])
    async def user_stats(user_id: str) -> dict[str, Any]:
        """What the active policy knows of a user; zeros for a user never met."""
        return await stats.load_user_stats(deployment, validate_id(user_id, "user_id"))

    @routes.get("/stats/{policy:id}/{user_id:id}", response_model=UserStats, openapi_extra=_READ, tags=["sight"])
    async def user_policy_stats(policy: str, user_id: str) -> dict[str, Any]:
        """What a named policy knows of a user."""
        return await stats.load_user_stats(deployment, validate_id(user_id, "user_id"), policy)

    @routes.get("/features", response_model=History, openapi_extra=_READ, tags=["sight"])
    async def features_of(user_id: str) -> dict[str, Any]:
        """The user's newest 100 decisions, oldest first."""
        validate_id(user_id, "user_id")
        return {"user_id": user_id, "history": await history.list_history(deployment, user_id)}

    @routes.get("/features/{user_id:id}", response_model=History, openapi_extra=_READ, tags=["sight"])
    async def features(user_id: str) -> dict[str, Any]:
        """The user's newest 100 decisions, oldest first."""
        return await features_of(user_id)

    @routes.get(
        "/decisions/{decision_id:id}",
        response_model=Receipt,
        openapi_extra=describe_operation(UnknownDecisionError, StorageUnavailableError),
        tags=["sight"],
    )
    async def decision(decision_id: str) -> dict[str, Any]:
        """The receipt of a decision, from which its pick can be computed again."""
        return await history.load_receipt(deployment, validate_id(decision_id, "decision_id"))

    @routes.get("/policies", response_model=Policies, tags=["sight"])
    async def policy_list() -> dict[str, Any]:
        """The configured policies, which one is active, and how that came about."""
        return policies.build_overview(deployment)


def _add_operator_routes(routes: APIRouter, deployment: ServiceContext, wire: Wire) -> None:
    reset_extra = describe_operation(*_WRITES, body="ResetRequest", examples=RESET_EXAMPLES)

    @routes.post("/reset", response_model=Ok, openapi_extra=reset_extra, tags=["operators"])
    async def reset_of(request: Request) -> dict[str, Any]:
        """Make all policies forget a user of any id."""
        body = await read_json_body(request.receive, dict(request.headers.raw))
        await users.reset(deployment, parse_body(wire.reset, body)["user_id"], _get_client(request))
        return {"ok": True}

    @routes.post(
        "/reset/{user_id:id}", response_model=Ok, openapi_extra=describe_operation(*_WRITES), tags=["operators"]
    )
    async def reset(request: Request, user_id: str) -> dict[str, Any]:
        """Make all policies forget a user: state and history. Idempotent."""
        await users.reset(deployment, validate_id(user_id, "user_id"), _get_client(request))
        return {"ok": True}

    @routes.delete("/users", response_model=Erased, openapi_extra=describe_operation(*_WRITES), tags=["operators"])
    async def erase_of(request: Request, user_id: str) -> dict[str, Any]:
        """Erase a user of any id."""
        return await users.erase(deployment, validate_id(user_id, "user_id"), _get_client(request))

    @routes.delete(
        "/users/{user_id:id}", response_model=Erased, openapi_extra=describe_operation(*_WRITES), tags=["operators"]
    )
    async def erase(request: Request, user_id: str) -> dict[str, Any]:
        """Erase everything held about a user; the receipt counts what went."""
        return await users.erase(deployment, validate_id(user_id, "user_id"), _get_client(request))

    @routes.get("/users", response_model=Users, openapi_extra=_READ, tags=["operators"])
    async def user_list(
        prefix: str = "",
        after: Annotated[int, Query(ge=0, le=LAST_SEQ)] = 0,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 100,
    ) -> dict[str, Any]:
        """Known users in order of first sight; `next` is the `after` of the next page."""
        return await users.list_users(deployment, prefix, after, limit)


def _get_client(request: Request) -> str:
    return cast("str", request.state.client)


def _build_metadata(request: Request, headers: dict[bytes, bytes], policy: str | None) -> RequestMetadata:
    return RequestMetadata(headers, request.scope["query_string"], _get_client(request), policy)


def _to_response(encoded: EncodedResponse) -> Response:
    return Response(encoded.body, encoded.status, media_type="application/json")
