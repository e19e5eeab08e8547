"""The routes about loops: which there are, and what they are. What is in one has its own addresses below its name."""

from fastapi import APIRouter, Request, Response

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import WRITE_ERRORS, build_router, get_client, parse_request
from bandstand.api.schemas.loops import LOOP, LoopDetail, LoopList
from bandstand.api.schemas.requests import validate_id
from bandstand.bandit.loop_definition import DEFAULT_LOOP, LoopDefinition
from bandstand.errors import (
    ConfigurationError,
    InvalidRequestError,
    LoopRefusedError,
    StorageUnavailableError,
    UnknownLoopError,
    UnsupportedByEngineError,
)
from bandstand.service.loop_status import LoopDescription, LoopListing, describe_loop, list_loops
from bandstand.service.loops import Loops


def build_loops_router(loops: Loops, only: str | None = None) -> APIRouter:
    """The routes over the loops of one service.

    Args:
        loops: which there are.
        only: the one that callers may see and change, where it is another's than the default loop's application.
    """
    routes = build_router("loops")
    change_extra = describe_operation(UnknownLoopError, LoopRefusedError, UnsupportedByEngineError, *WRITE_ERRORS)
    put_extra = describe_operation(LoopRefusedError, UnsupportedByEngineError, *WRITE_ERRORS, body=LOOP)

    @routes.get("/loops", response_model=LoopList, openapi_extra=describe_operation())
    async def loop_list() -> LoopListing:
        """Every loop, the default one first."""
        return list_loops(loops, only)

    @routes.get(
        "/loops/{name:id}",
        response_model=LoopDetail,
        openapi_extra=describe_operation(UnknownLoopError, StorageUnavailableError),
    )
    async def loop_detail(name: str) -> LoopDescription:
        """One loop, and who changed it."""
        await loops.find(_check_name(name))
        return describe_loop(loops, name)

    @routes.put(
        "/loops/{name:id}",
        response_model=LoopDetail,
        responses={201: {"model": LoopDetail, "description": "It was made"}},
        openapi_extra=put_extra,
    )
    async def put_loop(request: Request, response: Response, name: str) -> LoopDescription:
        """Make a loop, or give one another definition; as a whole, and idempotent.

        Another `mode`, or other `rewards`, are in effect at once; for anything else the loop is closed and opened
        again, while requests wait. What it has learned stays. Of the default loop, what is left out is as the settings
        and the configuration file say.
        """
        body = await parse_request(request, LOOP)
        said = loops.get(DEFAULT_LOOP).said if _check_name(name) == DEFAULT_LOOP else None
        definition = _parse_definition(name, body if said is None else {**said.to_document(), **body})
        await loops.refresh()
        is_new = all(loop.name != name for loop in loops)
        await loops.put(definition, get_client(request))
        response.status_code = 201 if is_new else 200
        return describe_loop(loops, name)

    @routes.post("/loops/{name:id}/promote", response_model=LoopDetail, openapi_extra=change_extra)
    async def promote_loop(request: Request, name: str) -> LoopDescription:
        """Let the policy of an apprentice serve: the mode `online`, at once. Idempotent."""
        await loops.set_mode(_check_name(name), "online", get_client(request))
        return describe_loop(loops, name)

    if only is None:

        @routes.delete("/loops/{name:id}", status_code=204, response_class=Response, openapi_extra=change_extra)
        async def delete_loop(request: Request, name: str) -> Response:
            """Delete a loop with all that was logged and learned in it, for good."""
            await loops.delete(_check_name(name), get_client(request))
            return Response(status_code=204)

    def _check_name(name: str) -> str:
        validate_id(name, "name")
        if only is not None and name != only:
            raise UnknownLoopError("no loop of that name")
        return name

    return routes


def _parse_definition(name: str, document: object) -> LoopDefinition:
    try:
        return LoopDefinition.parse(name, document)
    except ConfigurationError as error:
        raise InvalidRequestError(error.detail, error.errors) from None
