"""The door: what every request to the console passes, and how what went wrong is shown to a person."""

import hmac
from collections.abc import Callable, Coroutine
from typing import Any, cast

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute

from bandstand.console.form import Form, get_field, read_form
from bandstand.console.pages import HEADERS, Pages, build_link, set_prefix
from bandstand.console.session import Sessions, Visit
from bandstand.errors import BandstandError

LOGIN = "/login"
TOKEN = "token"  # noqa: S105 (the name of a field)

_SERVER_ERROR = 500
_JSON = ".json"
_TITLES = {404: "Nothing here", 403: "Not allowed", 422: "That does not fit", 401: "Please log in"}

StatusOf = Callable[[BandstandError], int]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

log = structlog.get_logger("bandstand.console")


class FormRejectedError(BandstandError):
    """A form without the token of its visit, or from another site."""

    code = "refused"


class PageNotFoundError(BandstandError):
    """No page, or nothing to show on it."""

    code = "nothing-here"


class Guard:
    """Lets in who has logged in, and shows a person what went wrong.

    Args:
        sessions: recognises visits.
        pages: renders what went wrong.
        status_of: the HTTP status of an error of the use cases.
        allow_anonymous: let everybody in: to the log-in itself, and to the files that its page needs.
    """

    def __init__(self, sessions: Sessions, pages: Pages, status_of: StatusOf, *, allow_anonymous: bool = False) -> None:
        self._sessions = sessions
        self._pages = pages
        self._status_of = status_of
        self._allow_anonymous = allow_anonymous

    async def handle(self, request: Request, handler: Handler) -> Response:
        """What the handler answers, or what is to be said instead; with the headers that every answer carries."""
        set_prefix(request.state.prefix)
        visit = self._sessions.find_visit(request.cookies.get(self._sessions.cookie))
        request.state.visit = visit
        try:
            if visit is None and not self._allow_anonymous:
                response = _require_login(request)
            else:
                if request.method == "POST":
                    token = self._sessions.get_login_token() if visit is None else visit.token
                    request.state.form = await _read_own_form(request, token)
                response = await handler(request)
        except Exception as error:  # noqa: BLE001 (a person is shown all of them, and a failure is logged)
            response = self._render_error(error, request, visit)
        response.headers.update(HEADERS)
        return response

    def _render_error(self, error: Exception, request: Request, visit: Visit | None) -> Response:
        status, detail = self._describe_error(error)
        reference = None
        if status >= _SERVER_ERROR:
            reference = request.state.request_id
            log.error("page failed", exc_info=error, request_id=reference)
        if request.url.path.endswith(_JSON):
            return JSONResponse({"detail": detail}, status)
        title = _TITLES.get(status, "That did not work")
        return self._pages.render("error.html", visit, status, title=title, detail=detail, reference=reference)

    def _describe_error(self, error: Exception) -> tuple[int, str]:
        match error:
            case PageNotFoundError():
                return 404, error.detail
            case FormRejectedError():
                return 403, error.detail
            case BandstandError():
                return self._status_of(error), error.detail
            case RequestValidationError():
                return 422, "the address asks for something that cannot be"
        return 500, "something went wrong here, and is in the log"


def build_route_class(guard: Guard) -> type[APIRoute]:
    """The kind of route that a guard stands before."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()

            async def handle_guarded(request: Request) -> Response:
                return await guard.handle(request, handler)

            return handle_guarded

    return GuardedRoute


def get_visit(request: Request) -> Visit:
    """Who is here, behind a door that lets no stranger in."""
    return cast("Visit", request.state.visit)


def get_form(request: Request) -> Form:
    """What a form posted, its token already checked."""
    return cast("Form", request.state.form)


def resolve_target(target: str) -> str:
    """The console page that was requested before the log-in; the first page if it is not one of the console's."""
    inside = target == "/console" or target.startswith(("/console/", "/console?"))
    return target if inside and target.isprintable() and "\\" not in target else "/console"


def _require_login(request: Request) -> Response:
    if request.url.path.endswith(_JSON):
        return JSONResponse({"detail": "log in again"}, 401)
    if request.method != "GET":
        return RedirectResponse(build_link(LOGIN), 303)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(build_link(LOGIN, next=wanted), 303)


async def _read_own_form(request: Request, token: str) -> Form:
    """The posted form, if one of our own pages sent it.

    Raises:
        RefusedError: it was not.
    """
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise FormRejectedError("this form did not come from the console")
    form = await read_form(request)
    if not hmac.compare_digest(get_field(form, TOKEN).encode(), token.encode()):
        raise FormRejectedError("this form is out of date: go back, reload the page and send it again")
    return form
