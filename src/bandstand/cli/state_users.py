"""``bandstand state reset`` and ``erase``: forget one user, in a running service or in a directory that none uses."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from bandstand.bandit.errors import ConfigurationError, InvalidRequestError, StorageUnavailableError
from bandstand.cli.report import AsJson, report
from bandstand.cli.state_dir import Place, StateDir, place
from bandstand.service import users
from bandstand.service.deployment import Deployment
from bandstand.store.embedded import EmbeddedStore, StoreOptions
from bandstand.store.imports import CLIENT
from bandstand.store.maintenance import ledger_path
from bandstand.store.priors import PriorFiles
from bandstand.store.transfer import UserId, described

_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)


def _checked(user_id: str) -> str:
    try:
        return _USER_ID.validate_python(user_id)
    except ValidationError as error:
        raise InvalidRequestError(f"USER: {described(error)}") from None


User = Annotated[
    str,
    typer.Argument(
        metavar="USER",
        callback=_checked,
        help="The user's id, as the product sends it; after -- if it begins with a dash.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Ask the service running there, such as http://127.0.0.1:8000."),
]
ApiKey = Annotated[
    str | None,
    typer.Option(metavar="SECRET", envvar="BANDSTAND_API_KEY", help="An admin key's secret, for --url."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_SECONDS = 60.0

T = TypeVar("T")


def reset(
    user: User,
    state_dir: StateDir = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make every policy forget what it learned about a user; the log of events stays.

    A reward that comes later for an earlier decision is logged and teaches nothing.
    """
    if url is not None:
        answer = _ask(url, api_key, "POST", "/reset", json={"user_id": user})
    else:
        answer = _here(place(state_dir), lambda deployment: _reset(deployment, user))
    report("Reset", answer, as_json=as_json)


def erase(
    user: User,
    state_dir: StateDir = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything held about a user, for good, and print the receipt."""
    if not yes:
        typer.confirm(f"Erase user {user!a} and everything held about them?", abort=True, err=True)
    if url is not None:
        answer = _ask(url, api_key, "DELETE", "/users", params={"user_id": user})
    else:
        answer = _here(place(state_dir), lambda deployment: users.erase(deployment, user, CLIENT))
    report("Erased", answer, as_json=as_json)


async def _reset(deployment: Deployment, user_id: str) -> dict[str, Any]:
    await users.reset(deployment, user_id, CLIENT)
    return {"ok": True}


def _here(where: Place, use_case: Callable[[Deployment], Awaitable[T]]) -> T:
    """Own the directory for one use case."""
    ledger_path(where.directory)

    async def run() -> T:
        # Retention is the service's to apply, by its own settings.
        store = EmbeddedStore(where.directory, where.catalogue, options=StoreOptions(retention_days=0))
        await store.open()
        try:
            return await use_case(Deployment(where.catalogue, store, prior_files=PriorFiles(where.directory)))
        finally:
            await store.close()

    return asyncio.run(run())


def _ask(url: str, api_key: str | None, method: str, path: str, **request: Any) -> dict[str, Any]:
    """Ask a running service.

    Raises:
        ConfigurationError: nothing that speaks HTTP is at the address.
        InvalidRequestError, StorageUnavailableError: the service refused.
    """
    import httpx  # noqa: PLC0415 (no other command speaks HTTP, and it takes as long to import as all of ours)

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        base = httpx.URL(url)
        with httpx.Client(base_url=base, trust_env=not _is_loopback(base.host), timeout=_SECONDS) as client:
            response = client.request(method, path, headers=headers, **request)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
