"""``bandstand state reset`` and ``erase``: forget one user, in a running service or in a directory that none uses."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.cli.report import AsJson, show_result
from bandstand.cli.state.access import ApiKey, Url, call_service, run_on_directory
from bandstand.cli.state.directory import LoopName, StateDir, build_path, resolve_location
from bandstand.errors import InvalidRequestError
from bandstand.service import users
from bandstand.store.loop_directories import LoopDirectories
from bandstand.store.maintenance.export import UserId, describe_error
from bandstand.store.maintenance.import_ import CLIENT

_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)


def _validate_user_id(user_id: str) -> str:
    try:
        return _USER_ID.validate_python(user_id)
    except ValidationError as error:
        raise InvalidRequestError(f"USER: {describe_error(error)}") from None


User = Annotated[
    str,
    typer.Argument(
        metavar="USER",
        callback=_validate_user_id,
        help="The user's id, as the product sends it; after -- if it begins with a dash.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def reset(
    user: User,
    state_dir: StateDir = None,
    loop: LoopName = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make every policy forget what it learned about a user; the log of events stays.

    A reward that comes later for an earlier decision is logged and teaches nothing.
    """
    if url is not None:
        answer = call_service(url, api_key, "POST", build_path("/reset", loop), json={"user_id": user})
    else:
        run_on_directory(resolve_location(state_dir, loop), lambda deployment: users.reset(deployment, user, CLIENT))
        answer = {"ok": True}
    show_result("Reset", answer, as_json=as_json)


def erase(
    user: User,
    state_dir: StateDir = None,
    loop: LoopName = None,
    url: Url = None,
    api_key: ApiKey = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything held about a user, for good, and print the receipt: in every loop, or in one alone."""
    if not yes:
        typer.confirm(f"Erase user {user!a} and everything held about them?", abort=True, err=True)
    if url is not None:
        answer = call_service(url, api_key, "DELETE", build_path("/users", loop), params={"user_id": user})
    else:
        answer = _erase_offline(user, state_dir, loop)
    show_result("Erased", answer, as_json=as_json)


def _erase_offline(user: str, state_dir: str | None, loop: str | None) -> dict[str, Any]:
    """The receipt of an erasure in a directory that no service uses; by loop, if there are others than one."""
    location = resolve_location(state_dir, loop)
    names = LoopDirectories(location.directory).list_names() if loop is None else []
    places = {DEFAULT_LOOP: location} | {name: resolve_location(state_dir, name) for name in names}
    receipts = {
        name: run_on_directory(place, lambda deployment: users.erase(deployment, user, CLIENT))
        for name, place in places.items()
    }
    receipt = users.sum_receipts(receipts) if names else receipts[DEFAULT_LOOP]
    answer = asdict(receipt)
    if receipt.loops is None:
        del answer["loops"]
    return answer
