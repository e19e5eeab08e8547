"""The page of experiments and holdouts: who wins, how sure, how much longer."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bandstand.console.auth import get_visit
from bandstand.console.figures import build_difference_figure
from bandstand.console.pages import Pages
from bandstand.service.context import ServiceContext
from bandstand.service.experiment import load_experiment_status, load_holdout_status
from bandstand.store.tables.splits import BANDIT_ARM, CONTROL_ARM


def add_experiment_routes(routes: APIRouter, pages: Pages, deployment: ServiceContext) -> None:
    """Add the page and its figures."""

    @routes.get("/experiment")
    async def show_experiment(request: Request) -> Response:
        experiment, holdout = await load_experiment_status(deployment), await load_holdout_status(deployment)
        arms = {} if experiment is None else experiment.arms
        return pages.render(
            "experiment.html",
            get_visit(request),
            experiment=experiment,
            experiment_shares={name: arm.share for name, arm in arms.items()},
            experiment_expected={name: arm.expected for name, arm in arms.items()},
            holdout=holdout,
            holdout_shares=None if holdout is None else {BANDIT_ARM: 1.0 - holdout.share, CONTROL_ARM: holdout.share},
        )

    @routes.get("/experiment.json")
    async def get_experiment_figures() -> Response:
        found = {
            "experiment": await load_experiment_status(deployment),
            "holdout": await load_holdout_status(deployment),
        }
        figures = {name: build_difference_figure(each.readout.days) for name, each in found.items() if each is not None}
        return JSONResponse(figures, headers={"cache-control": "no-store"})
