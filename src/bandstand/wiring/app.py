"""The one place where the parts are joined; the lifespan owns every resource."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, cast

import structlog

from bandstand import __version__
from bandstand.api.application import ApplicationOptions
from bandstand.api.asgi.access import OWN_SEGMENTS, Access
from bandstand.api.asgi.front import FrontController
from bandstand.api.asgi.loop_mounts import LoopMounts
from bandstand.api.routes.generation import log_prompts
from bandstand.api.routes.loops import build_loops_router
from bandstand.asyncio_tasks import cancel_task
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.config.catalogue import load_catalogue
from bandstand.config.loops import load_default_loop, load_loop_catalogue, load_loops
from bandstand.config.settings import Settings
from bandstand.errors import BandstandError, ConfigurationError
from bandstand.generate.generator import TipGenerator
from bandstand.service.loop_erasure import erase_everywhere, resume_erasures
from bandstand.service.loops import Loops
from bandstand.wiring.engine import build_loop_places
from bandstand.wiring.llm_clients import LlmConnection, connect_gateway, llm_host
from bandstand.wiring.running_loop import RunningLoop, SharedParts

log = structlog.get_logger("bandstand")


def create_app(settings: Settings, *, hot_path: bool = True) -> FrontController:
    """The service, as an ASGI application.

    Args:
        settings: the configuration, already validated.
        hot_path: see :class:`bandstand.api.application.ApplicationOptions`.

    Raises:
        ConfigurationError: the configuration file, the active policy or the default prompt is wrong; and, at start-up,
            when the state directory cannot be used.
    """
    if OWN_SEGMENTS & set(settings.root_path.split("/")[1:2]):
        raise ConfigurationError(
            f"ROOT_PATH={settings.root_path!r} begins like a path of the service itself; use another"
        )
    catalogue = load_catalogue(settings)
    configured = load_loops(settings)
    gateway = connect_gateway(settings)
    shared = SharedParts(settings, _build_generator(settings, gateway))
    default = RunningLoop(shared, load_default_loop(settings), catalogue)

    def compose(other: LoopDefinition, place: str | None) -> RunningLoop:
        loop = RunningLoop(shared, other, load_loop_catalogue(settings, other), place)
        options = ApplicationOptions(
            root_path=settings.root_path,
            log_requests=settings.log_requests,
            hot_path=hot_path,
            loop=other.name,
            admission=default.front.admission,
        )
        loop.build_front([build_loops_router(loops, only=other.name)], options, loops=loops)
        return loop

    loops = Loops(default, compose, build_loop_places(settings, default.store))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:  # what was opened is closed, however far the start got
            if gateway is not None:
                opened.push_async_callback(gateway.aclose)
            await default.open()
            opened.push_async_callback(default.close)
            _log_start(settings, default, gateway)
            opened.push_async_callback(loops.close)
            await loops.open(configured)
            resuming = asyncio.create_task(_resume_erasures(loops))
            opened.push_async_callback(cancel_task, resuming)
            yield
        log.info("stopped")

    erase = partial(erase_everywhere, loops)
    options = ApplicationOptions(
        lifespan=lifespan,
        root_path=settings.root_path,
        log_requests=settings.log_requests,
        hot_path=hot_path,
        erase=erase,
    )
    front = default.build_front([build_loops_router(loops)], options, loops=loops, erase=erase)
    access = Access(settings.api_keys, settings.allowed_hosts)
    front.gate = loops.get(DEFAULT_LOOP).gate
    front.mounts = LoopMounts(loops, access, lambda runtime: cast("RunningLoop", runtime).front)
    return front


async def _resume_erasures(loops: Loops) -> None:
    """Finish erasures over all loops that a process which died has left."""
    try:
        await resume_erasures(loops)
    except BandstandError as error:
        log.error("an erasure over all loops goes on at the next start", reason=error.detail)  # noqa: TRY400 (it says all)


def _log_start(settings: Settings, default: RunningLoop, gateway: LlmConnection | None) -> None:
    log.info(
        "serving",
        version=__version__,
        active_policy=default.deployment.active_policy,
        shadow=list(settings.shadow),
        durability=settings.durability,
        keys=len(settings.api_keys),
        tips_from=gateway.host if gateway else "template",
        judge=settings.judge,
        turns_may_go_to=llm_host(settings) or "nobody",
    )
    log_prompts(default.writing.prompts)


def _build_generator(settings: Settings, gateway: LlmConnection | None) -> TipGenerator | None:
    if gateway is None:
        return None
    return TipGenerator(
        gateway.build_client(),
        deadline_s=settings.generate_deadline_s,
        max_concurrent=settings.generate_max_concurrent,
    )
