"""The pages of policies: what each has decided and earned, side by side, and which one is active."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import get_field
from bandstand.console.launches import find_running_launch
from bandstand.console.pages import Pages, build_link
from bandstand.errors import PromotionRefusedError
from bandstand.service import policies as service
from bandstand.service import promotion
from bandstand.service.context import ServiceContext
from bandstand.service.stats import load_deployment_stats

_NOTES = {"promoted": "Requests that name no policy mean it from now on.", "demoted": "The policy before it is back."}


def add_policy_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext) -> None:
    """Add the pages about policies."""

    async def render_policies(
        request: Request, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        overview = service.build_overview(deployment)
        stats = await load_deployment_stats(deployment, days=0)
        names = {each.name for each in overview.policies}
        return pages.render(
            "policies.html",
            get_visit(request),
            status,
            overview=overview,
            stats=stats.policies,
            experiment=stats.experiment,
            launch=await find_running_launch(deployment),
            shadows=stats.shadows,
            former=sorted(set(stats.policies) - names),
            note=note,
            refused=refused,
        )

    @routes.get("/policies")
    async def list_policies(request: Request, done: str = "") -> Response:
        return await render_policies(request, note=_NOTES.get(done))

    @routes.get("/policies/promote")
    async def show_promotion(request: Request, policy: str) -> Response:
        if policy not in deployment.catalogue.policies:
            raise PageNotFoundError("no policy of that name is configured")
        return pages.render("promote.html", get_visit(request), policy=policy, active=deployment.active_policy)

    @routes.post("/policies/promote")
    async def promote_policy(request: Request) -> Response:
        try:
            await promotion.promote(deployment, get_field(get_form(request), "policy"), get_visit(request).client)
        except PromotionRefusedError as error:
            return await render_policies(request, refused=error.detail, status=409)
        return RedirectResponse(build_link("/policies", done="promoted"), 303)

    @routes.post("/policies/demote")
    async def demote_policy(request: Request) -> Response:
        try:
            await promotion.demote(deployment, get_field(get_form(request), "policy"), get_visit(request).client)
        except PromotionRefusedError as error:
            return await render_policies(request, refused=error.detail, status=409)
        return RedirectResponse(build_link("/policies", done="demoted"), 303)
