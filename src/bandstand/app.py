"""The one place where the parts are joined; the lifespan owns every resource."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from bandstand import __version__
from bandstand.api.access import Access
from bandstand.api.application import application
from bandstand.api.gate import Gate
from bandstand.api.metrics import Metrics
from bandstand.service.deployment import DEFAULT_POLICY, Deployment
from bandstand.settings import Settings, load_catalogue
from bandstand.store.embedded import EmbeddedStore, StoreOptions

log = structlog.get_logger("bandstand")


def create_app(settings: Settings, *, hot_path: bool = True) -> Gate:
    """The service, as an ASGI application.

    Args:
        settings: the configuration, already validated.
        hot_path: see :func:`bandstand.api.application.application`.

    Raises:
        ConfigurationError: the configuration file or the active policy is wrong; and, at start-up, when the state
            directory cannot be used.
    """
    catalogue = load_catalogue(settings)
    metrics = Metrics()
    store = EmbeddedStore(
        settings.state_dir,
        catalogue,
        options=StoreOptions(
            sync=settings.durability == "full",
            max_warm_users=settings.max_warm_users,
            max_pending=settings.max_pending,
            checkpoint_seconds=settings.checkpoint_seconds,
            retention_days=settings.decision_retention_days,
            close_seconds=settings.shutdown_seconds / 2,
        ),
        observe=metrics.commit,
    )
    deployment = Deployment(
        catalogue,
        store,
        active=settings.active_policy or DEFAULT_POLICY,
        score_when_full=settings.score_when_full,
    )
    metrics.watch(store.status)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await store.open()
        log.info(
            "serving",
            version=__version__,
            active_policy=deployment.active,
            durability=settings.durability,
            keys=len(settings.api_keys),
        )
        try:
            yield
        finally:
            await store.close()
            log.info("stopped")

    access = Access(settings.api_keys, settings.allowed_hosts)
    return application(
        deployment, access, metrics, lifespan=lifespan, log_requests=settings.log_requests, hot_path=hot_path
    )
