"""The one place where the parts are joined; the lifespan owns every resource."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import structlog

from bandstand import __version__
from bandstand.api.application import build_application
from bandstand.api.asgi.access import OWN_SEGMENTS, Access
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.problems import status_of
from bandstand.api.routes.evaluations import build_evaluations_router
from bandstand.api.routes.generation import log_prompts
from bandstand.api.routes.judge_endpoints import build_opinions_router
from bandstand.api.routes.judgements import build_judgements_router
from bandstand.api.routes.simulations import build_simulations_router
from bandstand.bandit.holdout import Holdout
from bandstand.config.catalogue import load_catalogue
from bandstand.config.settings import Settings
from bandstand.console.router import ConsoleContext, build_console_router
from bandstand.console.session import Sessions
from bandstand.errors import ConfigurationError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.generate.generator import TipGenerator
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.prompts.library import prompts_directory
from bandstand.service.context import DEFAULT_POLICY, ServiceContext
from bandstand.service.generate import TipWriting
from bandstand.service.launch import run_launches
from bandstand.service.prompts import PromptService
from bandstand.simulate.background import SimulationQueue
from bandstand.store.embedded.state_directory import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.tables.console_queries import ConsoleQueries
from bandstand.store.tables.evaluations import Evaluations
from bandstand.store.tables.simulations import Simulations
from bandstand.wiring.judge_worker import build_judge_worker, build_stateless_judge
from bandstand.wiring.llm_clients import LlmConnection, connect_gateway, llm_host

log = structlog.get_logger("bandstand")


def create_app(settings: Settings, *, hot_path: bool = True) -> FrontController:
    """The service, as an ASGI application.

    Args:
        settings: the configuration, already validated.
        hot_path: see :func:`bandstand.api.application.build_application`.

    Raises:
        ConfigurationError: the configuration file, the active policy or the default prompt is wrong; and, at start-up,
            when the state directory cannot be used.
    """
    if OWN_SEGMENTS & set(settings.root_path.split("/")[1:2]):
        raise ConfigurationError(
            f"ROOT_PATH={settings.root_path!r} begins like a path of the service itself; use another"
        )
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
            turn_retention_days=settings.turn_retention_days,
            close_seconds=settings.shutdown_seconds / 2,
        ),
        observe=metrics.record_commit,
    )
    population = PopulationPriorRefresher(
        catalogue, store, PriorFiles(settings.state_dir), refresh_rewards=settings.prior_refresh_rewards
    )
    judging = build_judge_worker(settings, store, population)
    deployment = ServiceContext(
        catalogue,
        store,
        active_policy=settings.active_policy or DEFAULT_POLICY,
        experiment=settings.experiment,
        holdout=None if settings.holdout is None else Holdout(settings.holdout, settings.holdout_control),
        shadow_policies=settings.shadow,
        pinned_by="ACTIVE_POLICY" if settings.active_policy else None,
        score_when_full=settings.score_when_full,
        strict_features=settings.strict_features,
        judge_worker=judging,
        shared_population=population,
    )
    metrics.register_store(store.status)
    metrics.register_judging(judging.get_status)
    if deployment.shadows is not None:
        metrics.register_shadows(deployment.shadows.get_status)
    gateway = connect_gateway(settings)
    writing = _build_tip_writing(settings, gateway)
    simulations = SimulationQueue(Simulations(settings.state_dir), settings.state_dir, catalogue)
    evaluations = EvaluationQueue(Evaluations(settings.state_dir), settings.state_dir, catalogue)
    sight = ConsoleQueries(settings.state_dir)
    judge_service = build_stateless_judge(settings, judging)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:  # what was opened is closed, however far the start got
            if gateway is not None:
                opened.push_async_callback(gateway.aclose)
            await store.open()
            opened.push_async_callback(store.close)
            opened.push_async_callback(sight.close)
            await deployment.start()
            if deployment.shadows is not None:
                opened.callback(deployment.shadows.close)
            await deployment.population.open()
            opened.push_async_callback(deployment.population.close)
            await deployment.drift.open()
            opened.push_async_callback(deployment.drift.close)
            log.info(
                "serving",
                version=__version__,
                active_policy=deployment.active_policy,
                shadow=list(settings.shadow),
                durability=settings.durability,
                keys=len(settings.api_keys),
                tips_from=gateway.host if gateway else "template",
                judge=settings.judge,
                turns_may_go_to=llm_host(settings) or "nobody",
            )
            log_prompts(writing.prompts)
            writing.prompts.update_shares(await store.load_prompt_totals())
            learning = asyncio.create_task(writing.prompts.run_updates(store))
            opened.push_async_callback(_cancel_task, learning)
            opened.push_async_callback(_cancel_task, asyncio.create_task(run_launches(deployment)))
            await judging.open()
            opened.push_async_callback(judging.close)
            for queue in (simulations, evaluations):
                await queue.open()
                opened.push_async_callback(queue.close)
            yield
        log.info("stopped")

    access = Access(settings.api_keys, settings.allowed_hosts)
    console = ConsoleContext(deployment, sight, simulations, evaluations, writing.prompts)
    sessions = Sessions(settings.api_keys, lambda: store.secret, clock=deployment.clock)

    def authorize_reader(headers: Mapping[str, str]) -> None:
        access.authorize({name.encode(): value.encode("latin-1") for name, value in headers.items()}, "read")

    return build_application(
        deployment,
        access,
        metrics,
        writing,
        [
            build_simulations_router(simulations),
            build_evaluations_router(evaluations),
            build_opinions_router(judge_service, metrics),
            build_judgements_router(judging),
            build_console_router(console, sessions, status_of, authorize_reader),
        ],
        lifespan=lifespan,
        root_path=settings.root_path,
        log_requests=settings.log_requests,
        hot_path=hot_path,
    )


async def _cancel_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _build_tip_writing(settings: Settings, gateway: LlmConnection | None) -> TipWriting:
    prompts = PromptService(settings.prompts_dir or prompts_directory(), settings.default_prompt_version or "")
    if gateway is None:
        return TipWriting(prompts)
    generator = TipGenerator(
        gateway.build_client(),
        deadline_s=settings.generate_deadline_s,
        max_concurrent=settings.generate_max_concurrent,
    )
    return TipWriting(prompts, generator)
