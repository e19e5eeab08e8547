"""One loop, joined from its parts: its store, what learns from it, what judges its turns, its application."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from contextvars import Context
from copy import copy
from dataclasses import dataclass, replace

import structlog
from fastapi import APIRouter

from bandstand.api.application import ApplicationOptions, build_application
from bandstand.api.asgi.access import Access
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.metrics import Metrics
from bandstand.api.problems import status_of
from bandstand.api.routes.evaluations import build_evaluations_router
from bandstand.api.routes.judge_endpoints import build_opinions_router
from bandstand.api.routes.judgements import build_judgements_router
from bandstand.api.routes.shown import build_shown_router
from bandstand.api.routes.simulations import build_simulations_router
from bandstand.asyncio_tasks import cancel_task
from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.holdout import Holdout
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.config.loops import get_loop_directory, load_loop_catalogue, resolve_policy
from bandstand.config.settings import Settings
from bandstand.console.router import ConsoleContext, build_console_router
from bandstand.console.session import Sessions
from bandstand.errors import BandstandError, ConfigurationError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.generate.generator import TipGenerator
from bandstand.judge_worker.stateless import StatelessJudge
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.learning.shadows import ShadowStatus
from bandstand.learning.shared_population import SharedPriorRefresher
from bandstand.personalizer.auto_optimization import AutoOptimizer
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.orphans import OrphanRewards
from bandstand.personalizer.resource import ClosedModel
from bandstand.personalizer.wire import PersonalizerWire
from bandstand.prompts.library import prompts_directory
from bandstand.service.context import ServiceContext
from bandstand.service.feature_health import FeatureReport
from bandstand.service.generate import TipWriting
from bandstand.service.judge_runs import JudgeRunQueue
from bandstand.service.launch import run_launches
from bandstand.service.loop_rules import is_applicable
from bandstand.service.loop_runtime import LoopForm
from bandstand.service.loops import Loops
from bandstand.service.prompts import PromptService
from bandstand.service.users import Erase
from bandstand.simulate.background import SimulationQueue
from bandstand.store.maintenance.model_file import ModelFiles
from bandstand.store.tables.judge_runs import JudgeRuns
from bandstand.store.tables.loops import fold_default_loop
from bandstand.store.tables.simulations import Simulations
from bandstand.wiring.engine import Engine, build_engine, get_retention_days
from bandstand.wiring.judge_worker import build_judge_worker, build_stateless_judge

_PAUSE_S = 1.0
_TRIES = 60
log = structlog.get_logger("bandstand")


@dataclass(slots=True)
class SharedParts:
    """What the loops of one process have in common.

    Attributes:
        settings: the deployment's.
        generator: writes tips; ``None`` if they are made without a model.
        default: the default loop, once it is made.
        opinions: gives opinions, in no loop.
    """

    settings: Settings
    generator: TipGenerator | None
    default: "RunningLoop | None" = None
    opinions: StatelessJudge | None = None


@dataclass(frozen=True, slots=True)
class _Form(LoopForm):
    """What of a running loop its definition makes: what decides, its application, what looks for a better policy."""

    deployment: ServiceContext
    front: FrontController
    optimizer: AutoOptimizer


class RunningLoop:
    """One loop of a process.

    Args:
        shared: the parts that all loops share; the default loop is made first.
        definition: what it is.
        catalogue: its policies and schemas.
        place: what holds its state, if that is not named as the loop.

    Attributes:
        deployment: its policies, its store, its clock.
        front: its gate, once :meth:`build_front` has made it.
        writing: how it writes tips.

    Raises:
        ConfigurationError: a setting, the policy or the default prompt is wrong.
        UnsupportedByEngineError: the engine does not keep such a loop.
    """

    front: FrontController

    def __init__(
        self, shared: SharedParts, definition: LoopDefinition, catalogue: Catalogue, place: str | None = None
    ) -> None:
        settings = shared.settings
        self._shared = shared
        self.name = definition.name
        self._is_default = self.name == DEFAULT_LOOP
        self.metrics = Metrics(of_process=self._is_default)
        self._engine = engine = build_engine(settings, catalogue, self.metrics.record_commit, definition, place)
        self.store = engine.store
        self._population = _build_population(engine, catalogue, settings.prior_refresh_rewards)
        self._judging: JudgeWorker = build_judge_worker(
            settings,
            self.store,
            self._population,
            shares=None if shared.default is None else shared.default._judging,  # noqa: SLF001 (of the same class)
            name=self.name,
        )
        self.deployment = self._build_deployment(definition, catalogue)
        self.metrics.register_store(self.store.status)
        self.metrics.register_judging(self._judging.get_status)
        self.metrics.register_shadows(self._get_shadow_status)
        self.metrics.register_features(self._get_feature_report)
        self.writing = TipWriting(
            PromptService(settings.prompts_dir or prompts_directory(), settings.default_prompt_version or ""),
            shared.generator,
        )
        directory = get_loop_directory(settings, place or self.name)
        self._simulations = SimulationQueue(Simulations(directory), directory, catalogue)
        self._evaluations = EvaluationQueue(engine.evaluations, engine.words, catalogue, environment=engine.environment)
        self._judge_runs = JudgeRunQueue(JudgeRuns(directory), engine.directory)
        self._sight = engine.sight
        self._orphans = OrphanRewards()
        if shared.opinions is None:
            shared.opinions = build_stateless_judge(settings, self._judging)
        if shared.default is None:
            shared.default = self
        self._opened = AsyncExitStack()
        self._state = AsyncExitStack()
        self._form: _Form

    def _build_deployment(self, definition: LoopDefinition, catalogue: Catalogue) -> ServiceContext:
        settings = self._shared.settings
        pinned = settings.active_policy if self._is_default else None
        has_holdout = self._is_default and settings.holdout is not None
        return ServiceContext(
            catalogue,
            self.store,
            active_policy=pinned or resolve_policy(definition),
            experiment=settings.experiment if self._is_default else None,
            holdout=Holdout(settings.holdout or 0.0, settings.holdout_control) if has_holdout else None,
            shadow_policies=definition.shadow,
            pinned_by="ACTIVE_POLICY" if pinned else None,
            score_when_full=settings.score_when_full,
            strict_features=settings.strict_features,
            definition=definition,
            judge_worker=self._judging,
            shared_population=self._population,
        )

    def _get_shadow_status(self) -> ShadowStatus | None:
        return None if self.deployment.shadows is None else self.deployment.shadows.get_status()

    def _get_feature_report(self) -> FeatureReport:
        return self.deployment.feature_health.build_report()

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Own its state and be ready; what was opened is closed, however far that got.

        Raises:
            ConfigurationError: the state directory cannot be used.
            StorageFullError, StorageUnavailableError: the disk refused.
        """
        async with AsyncExitStack() as opened:
            await self._open(opened)
            self._opened = opened.pop_all()

    async def close(self) -> None:
        """Commit what was accepted, and close the state."""
        await self._opened.aclose()

    async def run_closed(self, work: Callable[[], None]) -> None:
        """Close the state, run work that needs it exclusively on a thread, and open the state again.

        Raises:
            BandstandError: what ``work`` raised; or the state cannot be opened again, and the loop answers nothing any
                more.
        """
        await self._state.aclose()
        try:
            await asyncio.to_thread(work)
        finally:
            await self._reopen_state()

    def compose_form(self, definition: LoopDefinition) -> _Form:
        """Make, beside the serving, what another definition takes; it blocks for some hundred milliseconds.

        Raises:
            ConfigurationError: it cannot be so.
        """
        deployment = self._build_deployment(definition, load_loop_catalogue(self._shared.settings, definition))
        deployment.list_closed_loops = self.deployment.list_closed_loops
        return _Form(deployment, *self._build_application(deployment))

    async def take_form(self, form: LoopForm) -> _Form:
        """Release the state, and take it up in another form; nobody may be inside. Returns the former one.

        Raises:
            BandstandError: the state cannot be taken up so, and is as before.
        """
        assert isinstance(form, _Form)  # noqa: S101 (one that this loop has made)
        former = self._form
        await self._state.aclose()
        try:
            self._adopt(form)
            await self._reopen_state()
        except BaseException:
            self._adopt(former)
            await self._reopen_former()
            raise
        return former

    async def _reopen_former(self) -> None:
        """Take the state up as it was, again and again while its disk or its database is away; requests wait."""
        for _ in range(_TRIES):
            with suppress(BandstandError):
                return await self._reopen_state()
            await asyncio.sleep(_PAUSE_S)
        return await self._reopen_state()

    def _adopt(self, form: _Form) -> None:
        """Have another form, while the state is released."""
        catalogue, definition = form.deployment.catalogue, form.deployment.definition
        self.store.reconfigure(catalogue, retention_days=get_retention_days(self._shared.settings, definition))
        self._population.reconfigure(catalogue)
        self._simulations.catalogue = self._evaluations.catalogue = catalogue
        self._form, self.deployment = form, form.deployment
        self.front.take_over(form.front)

    async def _adopt_changes(self) -> None:
        """Be what the ledger says that the default loop was changed to, while it was served by an earlier process."""
        said = self.deployment.definition
        known = fold_default_loop(said, await self.store.list_loop_changes())
        if is_applicable(said, known):
            return
        try:
            form = await asyncio.to_thread(self.compose_form, known)
        except ConfigurationError as error:
            message = "what the default loop was changed to while it was served does not fit the settings any more"
            raise ConfigurationError(f"{message}: {error.detail}", error.errors) from None
        await self.store.close()
        self._adopt(form)
        await self.store.open()

    async def _open(self, opened: AsyncExitStack) -> None:
        await self._reopen_state(is_start=True)
        opened.push_async_callback(self._close_state)
        opened.push_async_callback(self._sight.close)
        opened.push_async_callback(self._judging.close)
        for queue in (self._simulations, self._evaluations, self._judge_runs):
            await queue.open()
            opened.push_async_callback(queue.close)
        if self._shared.default is not None and not self._is_default:
            others = self._shared.default.metrics.loops
            others[self.name] = self.metrics
            opened.callback(others.pop, self.name, None)

    async def _close_state(self) -> None:
        await self._state.aclose()

    async def _reopen_state(self, *, is_start: bool = False) -> None:
        """Own the state, and begin all that reads it and writes to it."""
        async with AsyncExitStack() as opened:
            await self.store.open()
            opened.push_async_callback(self.store.close)
            if is_start and self._is_default:
                await self._adopt_changes()
            await self._open_state(opened)
            self._state = opened.pop_all()

    async def _open_state(self, opened: AsyncExitStack) -> None:
        deployment, store = self.deployment, self.store
        await deployment.start()
        opened.callback(deployment.close_shadows)
        for learner in (deployment.population, deployment.drift, deployment.windows):
            await learner.open()
            opened.push_async_callback(learner.close)
        if not self._is_default:
            log.info("loop open", loop=self.name, active_policy=deployment.active_policy, mode=deployment.mode)
        prompts = self.writing.prompts
        prompts.update_shares(await store.load_prompt_totals())
        learning = asyncio.create_task(prompts.run_updates(store))
        opened.push_async_callback(cancel_task, learning)
        opened.push_async_callback(cancel_task, asyncio.create_task(run_launches(deployment)))
        await self._judging.open()
        opened.push_async_callback(self._judging.pause)
        # Not in the context of a request that had the loop opened: this one is no part of it.
        looking = asyncio.create_task(self._form.optimizer.run(), context=Context())
        opened.push_async_callback(cancel_task, looking)

    # ── the application ───────────────────────────────────────────────────────────────────────────────────────────

    def build_front(
        self,
        routers: Iterable[APIRouter],
        options: ApplicationOptions,
        *,
        loops: Loops | None,
        erase: Erase | None = None,
    ) -> FrontController:
        """Make the application over this loop, and its gate.

        Args:
            routers: routes besides those that every loop has.
            options: how it is served.
            loops: for the console, which shows them.
            erase: for the console; in this loop alone if left out.
        """
        settings = self._shared.settings
        assert self._shared.default is not None  # noqa: S101 (the first to be made)
        secret_of = self._shared.default.store
        self._routers, self._options, self._loops, self._erase = tuple(routers), options, loops, erase
        self._access = Access(
            settings.api_keys, settings.allowed_hosts, loop=self.name, read_content=settings.read_content
        )
        self._sessions = Sessions(
            settings.api_keys, lambda: secret_of.secret, clock=self.deployment.clock, loop=self.name
        )
        self.front, optimizer = self._build_application(self.deployment)
        self._form = _Form(self.deployment, copy(self.front), optimizer)  # as it is before it takes another over
        return self.front

    def _build_application(self, deployment: ServiceContext) -> tuple[FrontController, AutoOptimizer]:
        assert self._shared.opinions is not None  # noqa: S101 (made with the first loop)
        console = ConsoleContext(
            deployment,
            self._sight,
            self._simulations,
            self._evaluations,
            self._judge_runs,
            self.writing.prompts,
            self._loops,
            self._erase,
            self.metrics.list_latencies,
        )
        access = self._access

        def authorize_reader(headers: Mapping[str, str]) -> None:
            access.authorize({name.encode(): value.encode("latin-1") for name, value in headers.items()}, "read")

        foreign = self._build_personalizer(deployment)
        front = build_application(
            deployment,
            access,
            self.metrics,
            self.writing,
            [
                build_simulations_router(self._simulations),
                build_evaluations_router(self._evaluations),
                build_opinions_router(self._shared.opinions, self.metrics),
                build_judgements_router(self._judging),
                build_shown_router(self._sight),
                *self._routers,
                build_console_router(console, self._sessions, status_of, authorize_reader),
            ],
            replace(self._options, foreign=foreign, sight=self._sight),
        )
        return front, foreign.optimizer

    def _build_personalizer(self, deployment: ServiceContext) -> PersonalizerWire:
        directory = self._engine.directory
        days = get_retention_days(self._shared.settings, deployment.definition)
        loop = PersonalizerLoop(deployment, self._loops, retention_days=days)
        model = self._engine.model
        if model is None:
            assert directory is not None  # noqa: S101 (an engine has one or the other)
            model = ClosedModel(loop, ModelFiles(directory, deployment.catalogue, deployment.has_one_model))
        return PersonalizerWire(loop, self.metrics, self.store, self._evaluations, model, self._orphans)


def _build_population(engine: Engine, catalogue: Catalogue, refresh_rewards: int | None) -> PopulationPriorRefresher:
    if engine.prior_ledger is None:
        return PopulationPriorRefresher(catalogue, engine.store, engine.prior_files, refresh_rewards=refresh_rewards)
    return SharedPriorRefresher(catalogue, engine.store, engine.prior_ledger, refresh_rewards=refresh_rewards)
