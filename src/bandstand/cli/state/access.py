"""The two ways to change a state: ask the service that runs on it, or own the directory for as long as it takes."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import structlog
import typer

from bandstand.bandit.loop_definition import EVERYBODY
from bandstand.cli.state.directory import StateLocation
from bandstand.errors import ConfigurationError, InvalidRequestError, StorageUnavailableError
from bandstand.loopback import is_loopback
from bandstand.network_variables import check_network_variables
from bandstand.service.context import DEFAULT_POLICY, ServiceContext
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners.prior_file import PriorFiles
from bandstand.store.maintenance.offline import find_ledger
from bandstand.store.protocol import Store

Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Ask the running service at this address, such as http://127.0.0.1:8000."),
]
ApiKey = Annotated[
    str | None,
    typer.Option(metavar="SECRET", envvar="BANDSTAND_API_KEY", help="An admin key's secret, for --url."),
]
_SECONDS = 60.0

T = TypeVar("T")


def run_on_directory(location: StateLocation, use_case: Callable[[ServiceContext], Awaitable[T]]) -> T:
    """Own the directory for one use case, and keep the learned priors up to date too.

    Raises:
        ConfigurationError: it holds no ledger, is another process's, or does not fit the configuration.
    """

    async def run(store: Store) -> T:
        deployment = ServiceContext(
            location.catalogue,
            store,
            active_policy=_get_policy(location),
            definition=location.definition,
            prior_files=PriorFiles(location.directory),
        )
        await deployment.population.open()  # whoever goes, goes from the learned priors too
        try:
            return await use_case(deployment)
        finally:
            await deployment.population.close()

    with _log_warnings_to_stderr():
        return run_on_store(location, run)


def run_on_store(location: StateLocation, use_case: Callable[[Store], Awaitable[T]]) -> T:
    """Own the directory and open its store for one use case.

    Raises:
        ConfigurationError: it holds no ledger, is another process's, or does not fit the configuration.
    """
    find_ledger(location.directory)

    async def run() -> T:
        # Retention is the service's to apply, by its own settings.
        shared_user = EVERYBODY if location.definition.scope == "loop" else None
        options = StoreOptions(retention_days=0, turn_retention_days=0, shared_user=shared_user)
        store = EmbeddedStore(location.directory, location.catalogue, options=options)
        await store.open()
        try:
            return await use_case(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _get_policy(location: StateLocation) -> str:
    """A policy that there is: a loop may be without those of the service."""
    named = location.definition.policy
    return DEFAULT_POLICY if named is None else named


@contextmanager
def _log_warnings_to_stderr() -> Iterator[None]:
    """Keep stdout for the answer, which may be JSON that a program reads: log warnings alone, and not there."""
    before = structlog.get_config()
    structlog.reset_defaults()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def call_service(url: str, api_key: str | None, method: str, path: str, **request: Any) -> dict[str, Any]:
    """Call a running service; ``request`` has httpx's arguments besides method, path and headers.

    Raises:
        ConfigurationError: nothing that speaks HTTP is at the address.
        InvalidRequestError, StorageUnavailableError: the service refused.
    """
    import httpx  # noqa: PLC0415 (no other command speaks HTTP, and it takes as long to import as all of ours)

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        base = httpx.URL(url)
        if not is_loopback(base.host):
            check_network_variables()
        with httpx.Client(base_url=base, trust_env=not is_loopback(base.host), timeout=_SECONDS) as client:
            response = client.request(method, path, headers=headers, **request)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, ImportError) as error:
        raise ConfigurationError(f"--url {url}: {str(error) or type(error).__name__}") from error
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.is_success and isinstance(answer, dict):
        return answer
    detail = answer.get("detail") if isinstance(answer, dict) else None
    kind = StorageUnavailableError if response.is_server_error else InvalidRequestError
    raise kind(f"--url {url} answered {response.status_code}: {detail or 'this is no Bandstand'}")
