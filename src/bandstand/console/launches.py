"""The page of a launch: as steps with what each waits for, and hold, go on, roll back."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import get_field
from bandstand.console.pages import Pages, build_link
from bandstand.errors import InvalidRequestError, PromotionRefusedError
from bandstand.service import launch
from bandstand.service.context import ServiceContext
from bandstand.service.launch import LaunchStatus

_GO_ON, _BACK = ("advance", "Go to the next step"), [("rollback", "Roll back"), ("cancel", "Cancel")]
_ACTIONS = {
    "running": [("hold", "Hold"), _GO_ON, *_BACK],
    "held": [("resume", "Let it go on"), _GO_ON, *_BACK],
    "rolled_back": [("resume", "Resume where it was")],
    "cancelled": [("resume", "Resume where it was")],
    "finished": [],
}


def add_launch_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext) -> None:
    """Add the page, and what its buttons do."""

    async def render_launch(
        request: Request, policy: str, *, refused: str | None = None, status: int = 200
    ) -> Response:
        if policy not in deployment.catalogue.policies:
            raise PageNotFoundError("no policy of that name is configured")
        found = await launch.find_launch_status(deployment, policy)
        is_free = not (deployment.launches and deployment.launches[-1].is_serving)
        return pages.render(
            "launch.html",
            get_visit(request),
            status,
            policy=policy,
            active=deployment.active_policy,
            launch=found,
            actions=[] if found is None else _ACTIONS[found.state],
            can_start=is_free and deployment.pinned_by is None and policy != deployment.active_policy,
            refused=refused,
        )

    @routes.get("/policies/launch")
    async def show_launch(request: Request, policy: str) -> Response:
        return await render_launch(request, policy)

    @routes.post("/policies/launch")
    async def start_launch(request: Request) -> Response:
        form = get_form(request)
        policy = get_field(form, "policy")
        try:
            steps = [float(each) for each in get_field(form, "steps").replace("%", "").split(",")]
            wanted = {"steps": steps, "min_decisions": int(get_field(form, "min_decisions"))}
        except ValueError:
            return await render_launch(request, policy, refused="the steps and their size must be numbers", status=422)
        try:
            await launch.start_launch(deployment, policy, wanted, get_visit(request).client)
        except (PromotionRefusedError, InvalidRequestError) as error:
            return await render_launch(request, policy, refused=error.detail, status=409)
        return RedirectResponse(build_link("/policies/launch", policy=policy), 303)

    @routes.post("/policies/launch/{action}")
    async def act_on_launch(request: Request, action: launch.HandAction) -> Response:
        policy = get_field(get_form(request), "policy")
        try:
            await launch.act_on_launch(deployment, policy, action, get_visit(request).client)
        except PromotionRefusedError as error:
            return await render_launch(request, policy, refused=error.detail, status=409)
        return RedirectResponse(build_link("/policies/launch", policy=policy), 303)


async def find_running_launch(deployment: ServiceContext) -> LaunchStatus | None:
    """The launch that is under way; ``None`` for none."""
    newest = deployment.launches[-1] if deployment.launches else None
    return (
        None
        if newest is None or not newest.is_serving
        else await launch.find_launch_status(deployment, newest.plan.policy)
    )
