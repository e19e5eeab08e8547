"""The routes of those who look after a deployment's users: list, reset, erase."""

from fastapi import APIRouter, Request

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, EventCursor, PageSize, build_router, get_client, parse_request
from bandstand.api.schemas.learning import Erased, Ok, Users
from bandstand.api.schemas.requests import Wire, validate_id
from bandstand.errors import StorageUnavailableError
from bandstand.service import users
from bandstand.service.context import ServiceContext
from bandstand.service.users import Erase, ErasureReceipt, UserList


def build_operators_router(deployment: ServiceContext, wire: Wire, erase_user: Erase) -> APIRouter:
    """The routes over one deployment.

    Args:
        deployment: which.
        wire: its bodies.
        erase_user: erases a user, here or in every loop.
    """
    routes = build_router("operators")
    write_extra = describe_operation(*WRITE_ERRORS)
    reset_extra = describe_operation(*WRITE_ERRORS, body=wire.reset)

    @routes.post("/reset", openapi_extra=reset_extra)
    async def reset_of(request: Request) -> Ok:
        """Make all policies forget a user of any id."""
        body = await parse_request(request, wire.reset)
        await users.reset(deployment, body["user_id"], get_client(request))
        return Ok(ok=True)

    @routes.post("/reset/{user_id:id}", openapi_extra=write_extra)
    async def reset(request: Request, user_id: str) -> Ok:
        """Make all policies forget a user: state and history. Idempotent."""
        await users.reset(deployment, validate_id(user_id, "user_id"), get_client(request))
        return Ok(ok=True)

    @routes.delete("/users", response_model=Erased, response_model_exclude_none=True, openapi_extra=write_extra)
    async def erase_of(request: Request, user_id: str) -> ErasureReceipt:
        """Erase a user of any id."""
        return await erase_user(validate_id(user_id, "user_id"), get_client(request))

    @routes.delete(
        "/users/{user_id:id}", response_model=Erased, response_model_exclude_none=True, openapi_extra=write_extra
    )
    async def erase(request: Request, user_id: str) -> ErasureReceipt:
        """Erase everything held about a user, in every loop; the receipt counts what went."""
        return await erase_user(validate_id(user_id, "user_id"), get_client(request))

    @routes.get("/users", response_model=Users, openapi_extra=describe_operation(StorageUnavailableError))
    async def user_list(prefix: str = "", after: EventCursor = 0, limit: PageSize = 100) -> UserList:
        """Known users in order of first sight; `next` is the `after` of the next page."""
        return await users.list_users(deployment, prefix, after, limit)

    return routes
