"""How a loop that runs becomes another: closed and composed again, or, the default one, in another form.

The default loop is the process's own: its gate is the server's application, and other loops use what it has. So it
stays, releases its state, and takes that up again with other policies.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, TypeVar

import structlog

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.errors import BandstandError, ConfigurationError, InvalidRequestError, LoopRefusedError
from bandstand.service.loop_rules import is_applicable
from bandstand.service.loop_runtime import ManagedLoop

T = TypeVar("T")
log = structlog.get_logger("bandstand")


async def compose_beside(compose: Callable[..., T], *args: object) -> T:
    """Join parts on a thread, beside the serving.

    Raises:
        InvalidRequestError: the definition is wrong.
    """
    gc.collect()  # what a loop was before is cycles, and a service is without full rounds of the collector
    try:
        return await asyncio.to_thread(compose, *args)
    except ConfigurationError as error:
        raise InvalidRequestError(error.detail, error.errors) from None


async def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Have a state released, or taken up: what that begins goes on when the request that asked is long answered."""
    return await asyncio.create_task(work, context=Context())


@asynccontextmanager
async def renew_loop(
    loop: ManagedLoop, definition: LoopDefinition, watch: Callable[[ManagedLoop], None]
) -> AsyncIterator[None]:
    """Have the default loop go on in another form; in the former one, where the block fails. Requests wait.

    Args:
        loop: the default one.
        definition: what it is to be.
        watch: has it follow other processes.

    Raises:
        InvalidRequestError: the definition is wrong.
        LoopRefusedError: it does not fit what the ledger holds.
        StorageFullError, StorageUnavailableError: it cannot be now.
    """
    runtime = loop.require_runtime()
    form = await compose_beside(runtime.compose_form, definition)
    async with loop.gate.close():
        try:
            former = await run_apart(runtime.take_form(form))
        except BandstandError as error:
            raise to_refusal(error) from error
        watch(loop)
        try:
            yield
        except BaseException:
            await run_apart(runtime.take_form(former))
            raise


async def put_into_effect(loop: ManagedLoop, watch: Callable[[ManagedLoop], None]) -> None:
    """Have the default loop go on as it is defined; as :func:`renew_loop`."""
    running = loop.deployment.definition
    if running == loop.definition:
        return
    if is_applicable(running, loop.definition):
        await loop.deployment.apply_definition(loop.definition)
        return
    async with renew_loop(loop, loop.definition, watch):
        pass


async def close_loop(loop: ManagedLoop, fault: str) -> None:
    """Let a loop take no requests from here on, and say why."""
    runtime, loop.runtime, loop.fault = loop.runtime, None, fault
    if runtime is not None:
        await runtime.close()


def follow_definition(loop: ManagedLoop) -> None:
    """Have a loop that runs go on as its definition says now; where it cannot, its decisions are refused."""
    try:
        loop.deployment.follow_definition(loop.definition)
    except ConfigurationError as error:
        log_unfollowed(loop, error)


def log_unfollowed(loop: ManagedLoop, error: BandstandError) -> None:
    """Say that a loop is not what another process has made of it."""
    log.error("a loop cannot follow its definition", loop=loop.name, reason=error.detail)


def to_refusal(error: Exception) -> Exception:
    """What a loop could not be opened for, to whoever asked."""
    return LoopRefusedError(error.detail, error.errors) if isinstance(error, ConfigurationError) else error
