"""The pages of policies: what each has decided and earned, side by side, and which one is active."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import NothingHereError, form_of, visit_of
from bandstand.console.form import field
from bandstand.console.pages import Pages, link
from bandstand.errors import PromotionRefusedError
from bandstand.service import policies as service
from bandstand.service import promotion
from bandstand.service.context import Deployment
from bandstand.service.stats import deployment_stats

_NOTES = {"promoted": "Requests that name no policy mean it from now on.", "demoted": "The policy before it is back."}


def policy_routes(routes: APIRouter, pages: Pages, deployment: Deployment) -> None:
    """Add the pages about policies."""

    async def shown(
        request: Request, *, note: str | None = None, refused: str | None = None, status: int = 200
    ) -> Response:
        overview = service.overview(deployment)
        stats = await deployment_stats(deployment, days=0)
        names = {each["name"] for each in overview["policies"]}
        return pages.render(
            "policies.html",
            visit_of(request),
            status,
            overview=overview,
            stats=stats["policies"],
            experiment=stats["experiment"],
            shadows=stats["shadows"],
            former=sorted(set(stats["policies"]) - names),
            note=note,
            refused=refused,
        )

    @routes.get("/policies")
    async def policy_list(request: Request, done: str = "") -> Response:
        return await shown(request, note=_NOTES.get(done))

    @routes.get("/policies/promote")
    async def ask_promotion(request: Request, policy: str) -> Response:
        if policy not in deployment.catalogue.policies:
            raise NothingHereError("no policy of that name is configured")
        return pages.render("promote.html", visit_of(request), policy=policy, active=deployment.active)

    @routes.post("/policies/promote")
    async def promote(request: Request) -> Response:
        try:
            await promotion.promote(deployment, field(form_of(request), "policy"), visit_of(request).client)
        except PromotionRefusedError as error:
            return await shown(request, refused=error.detail, status=409)
        return RedirectResponse(link("/policies", done="promoted"), 303)

    @routes.post("/policies/demote")
    async def demote(request: Request) -> Response:
        try:
            await promotion.demote(deployment, field(form_of(request), "policy"), visit_of(request).client)
        except PromotionRefusedError as error:
            return await shown(request, refused=error.detail, status=409)
        return RedirectResponse(link("/policies", done="demoted"), 303)
