"""``bandstand state reset`` and ``erase``: forget one user, in a running service or in a directory that none uses."""

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from bandstand.cli.report import AsJson, report
from bandstand.cli.state.access import ApiKey, Url, ask, here
from bandstand.cli.state.directory import StateDir, place
from bandstand.errors import InvalidRequestError
from bandstand.service import users
from bandstand.service.context import Deployment
from bandstand.store.maintenance.export import UserId, described
from bandstand.store.maintenance.import_ import CLIENT

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
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


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
        answer = ask(url, api_key, "POST", "/reset", json={"user_id": user})
    else:
        answer = here(place(state_dir), lambda deployment: _reset(deployment, user))
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
        answer = ask(url, api_key, "DELETE", "/users", params={"user_id": user})
    else:
        answer = here(place(state_dir), lambda deployment: users.erase(deployment, user, CLIENT))
    report("Erased", answer, as_json=as_json)


async def _reset(deployment: Deployment, user_id: str) -> dict[str, Any]:
    await users.reset(deployment, user_id, CLIENT)
    return {"ok": True}
