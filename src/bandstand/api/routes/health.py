"""The routes that say whether a service is alive, accepts events, and is well."""

from contextlib import suppress
from dataclasses import asdict

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from bandstand import __version__
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.openapi import describe_operation
from bandstand.api.problems import NotReadyError
from bandstand.api.routes.helpers import build_router
from bandstand.api.schemas.learning import Health, HealthWarning, Ready, SharedLedgerHealth
from bandstand.errors import StorageUnavailableError
from bandstand.service.attention import AttentionList
from bandstand.service.context import ServiceContext
from bandstand.service.experiment import load_experiment_status
from bandstand.store.tables.console_queries import ConsoleSource


def build_health_router(deployment: ServiceContext, metrics: Metrics, sight: ConsoleSource | None = None) -> APIRouter:
    """The routes over one deployment, and a look into its ledger for what gets picked."""
    routes = build_router("operations")
    attention = AttentionList(deployment, sight)

    @routes.get("/health")
    async def health() -> Health:
        """The process lives, and what needs a person's attention."""
        status = deployment.store.status()
        return Health(
            ok=True,
            version=__version__,
            active_policy=deployment.active_policy,
            durability=status.durability,
            quarantined=status.quarantined,
            last_error=status.last_error,
            ledger=SharedLedgerHealth.from_details(status.details),
            warnings=[HealthWarning(**asdict(item)) for item in await attention.load()],
        )

    @routes.get("/ready", openapi_extra=describe_operation(NotReadyError))
    async def ready() -> Ready:
        """The store takes events, and its disk has room for them (or `SCORE_WHEN_FULL` does without)."""
        status = deployment.store.status()
        if status.state != "ready":
            message = f"the store is {status.state}"
            raise NotReadyError(message)
        if status.disk_is_full and not deployment.score_when_full:
            message = "the disk is full"
            raise NotReadyError(message)
        return Ready(ready=True)

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics_text() -> Response:
        """Prometheus metrics."""
        with suppress(StorageUnavailableError):  # the rest can be told all the same
            metrics.record_experiment(await load_experiment_status(deployment))
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
