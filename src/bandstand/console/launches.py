"""The page of a launch: as steps with what each waits for, and hold, continue, roll back."""

import math
from itertools import zip_longest
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bandstand.console.auth import PageNotFoundError, get_form, get_visit
from bandstand.console.form import Form, get_field
from bandstand.console.pages import Pages, build_link
from bandstand.errors import InvalidRequestError, PromotionRefusedError
from bandstand.service import launch
from bandstand.service.context import ServiceContext
from bandstand.service.launch import LaunchStatus
from bandstand.service.metrics import load_metrics
from bandstand.store.tables.arms import REWARD

_GO_ON, _BACK = ("advance", "Go to the next step"), [("rollback", "Roll back"), ("cancel", "Cancel")]
_ACTIONS = {
    "running": [("hold", "Hold"), _GO_ON, *_BACK],
    "held": [("resume", "Let it go on"), _GO_ON, *_BACK],
    "rolled_back": [("resume", "Resume where it was")],
    "cancelled": [("resume", "Resume where it was")],
    "finished": [],
}
_GUARDRAILS = 4
"""Places that the form has for them; the API takes more."""

_MAX_NAME = 100
_MAX_DECISIONS = 10**9


def add_launch_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext) -> None:
    """Add the page, and what its buttons do."""

    async def render_launch(
        request: Request, policy: str, *, refused: str | None = None, status: int = 200, given: Form | None = None
    ) -> Response:
        if policy not in deployment.catalogue.policies:
            raise PageNotFoundError("no policy of that name is configured")
        found = await launch.find_launch_status(deployment, policy)
        return pages.render(
            "launch.html",
            get_visit(request),
            status,
            policy=policy,
            active=deployment.active_policy,
            launch=found,
            actions=[] if found is None else _ACTIONS[found.state],
            obstacle=_find_obstacle(deployment, policy),
            refused=refused,
            means=await _load_means(deployment),
            guardrails=_list_guardrails(given or {}),
            steps=get_field(given, "steps") if given else ", ".join(f"{each:g}" for each in launch.DEFAULT_STEPS),
            min_decisions=get_field(given, "min_decisions") if given else launch.DEFAULT_MIN_DECISIONS,
        )

    @routes.get("/policies/launch")
    async def show_launch(request: Request, policy: str) -> Response:
        return await render_launch(request, policy)

    @routes.post("/policies/launch")
    async def start_launch(request: Request) -> Response:
        form = get_form(request)
        policy = get_field(form, "policy")
        try:
            wanted = _parse_plan(form)
        except ValueError as error:
            return await render_launch(request, policy, refused=str(error), status=422, given=form)
        try:
            await launch.start_launch(deployment, policy, wanted, get_visit(request).client)
        except (PromotionRefusedError, InvalidRequestError) as error:
            return await render_launch(request, policy, refused=error.detail, status=409, given=form)
        return RedirectResponse(build_link("/policies/launch", policy=policy), 303)

    @routes.post("/policies/launch/{action}")
    async def act_on_launch(request: Request, action: launch.HandAction) -> Response:
        policy = get_field(get_form(request), "policy")
        try:
            await launch.act_on_launch(deployment, policy, action, get_visit(request).client)
        except PromotionRefusedError as error:
            return await render_launch(request, policy, refused=error.detail, status=409)
        return RedirectResponse(build_link("/policies/launch", policy=policy), 303)


def _find_obstacle(deployment: ServiceContext, policy: str) -> str | None:
    """Why a policy cannot be launched now, and what helps; ``None`` if it can."""
    if deployment.pinned_by is not None:
        return (
            f"The setting {deployment.pinned_by} says which policy serves whom, and a launch would not be heard. Start"
            f" the service without {deployment.pinned_by}, and this page offers the launch."
        )
    if policy == deployment.active_policy:
        return f"{policy} is the active policy: everybody has it already. Launch another one."
    if deployment.launches and deployment.launches[-1].is_serving:
        return f"{deployment.launches[-1].plan.policy} is being launched: one policy climbs at a time."
    return None


async def _load_means(deployment: ServiceContext) -> dict[str, float]:
    """What the active policy brings: the means that a bound may be taken from."""
    active = deployment.active_policy
    totals = (await deployment.store.load_policy_totals()).get(active)
    means = {REWARD: totals.reward_sum / totals.rewards} if totals is not None and totals.rewards else {}
    metrics = (await load_metrics(deployment)).get(active, {})
    return means | {name: each.all.mean for name, each in metrics.items() if name != REWARD}


def _parse_plan(form: Form) -> dict[str, Any]:
    """The request from a filled form.

    Raises:
        ValueError: a field holds what cannot be; its message is for a person.
    """
    steps = [
        _parse_number("the shares", each)
        for each in get_field(form, "steps").replace("%", "").split(",")
        if each.strip()
    ]
    size = _parse_number("the rewarded decisions of a step", get_field(form, "min_decisions"))
    if size < 1 or size > _MAX_DECISIONS or size != int(size):
        raise ValueError("the rewarded decisions of a step must be a whole number from 1 on")
    guardrails: dict[str, float] = {}
    for metric, bound in _list_guardrails(form):
        if metric in guardrails:
            raise ValueError(f"{metric} has two bounds")
        if not metric and bound:
            raise ValueError("a bound is given without its metric")
        if len(metric) > _MAX_NAME:
            raise ValueError(f"a metric's name has at most {_MAX_NAME} characters")
        if metric:
            guardrails[metric] = _parse_number(f"the bound of {metric}", bound)
    return {"steps": steps, "min_decisions": int(size), "guardrails": guardrails}


def _list_guardrails(form: Form) -> list[tuple[str, str]]:
    """Metrics and bounds as they were filled in, as many as the form has places for."""
    metrics, bounds = (form.get(name, [])[:_GUARDRAILS] for name in ("metric", "bound"))
    pairs = zip_longest(metrics, bounds, range(_GUARDRAILS), fillvalue="")
    return [(str(metric).strip(), str(bound).strip()) for metric, bound, _ in pairs]


def _parse_number(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what} must be numbers" if what.endswith("s") else f"{what} must be a number")
    return number


async def find_running_launch(deployment: ServiceContext) -> LaunchStatus | None:
    """The launch that is under way; ``None`` for none."""
    newest = deployment.launches[-1] if deployment.launches else None
    return (
        None
        if newest is None or not newest.is_serving
        else await launch.find_launch_status(deployment, newest.plan.policy)
    )
