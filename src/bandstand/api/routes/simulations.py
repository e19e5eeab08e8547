"""The routes that have policies simulated, beside the serving: a run is queued, played by a child, and looked at."""

import asyncio
import json
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response

from bandstand.api.asgi.bodies import read_json_body
from bandstand.api.openapi import described
from bandstand.api.schemas.requests import parsed
from bandstand.api.schemas.simulations import (
    SIMULATION,
    SIMULATION_EXAMPLES,
    Simulation,
    SimulationList,
    SimulationResult,
)
from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError, UnknownPolicyError
from bandstand.service.context import iso
from bandstand.simulate.background import BackgroundRuns
from bandstand.simulate.errors import UnknownRunError
from bandstand.store.tables.simulations import Run

_MOST = 2**62  # what a number of a run can be
_PAGE = 200
_DEFAULTS = {"policies": ["linucb-v1", "egreedy-v1", "linucb-v2"], "seeds": 20}
RunNumber = Annotated[int, Path(ge=1, le=_MOST)]
_KEEPING = (StorageUnavailableError, StorageFullError)


def simulations_router(runs: BackgroundRuns) -> APIRouter:
    """The routes over one service's runs."""
    routes = APIRouter(tags=["simulations"])
    start_extra = described(
        OverloadedError, UnknownPolicyError, *_KEEPING, body="SimulationRequest", examples=SIMULATION_EXAMPLES
    )
    one_extra = described(UnknownRunError, *_KEEPING)

    @routes.post("/simulations", status_code=202, response_model=Simulation, openapi_extra=start_extra)
    async def start_simulation(request: Request, response: Response) -> dict[str, Any]:
        """Queue a simulation; it is played beside the serving, one after the other."""
        body = parsed(SIMULATION, await read_json_body(request.receive, dict(request.headers.raw)))
        run = await runs.start(_DEFAULTS | body, cast("str", request.state.client))
        response.headers["location"] = f"/simulations/{run.id}"
        return _told(run)

    @routes.get("/simulations", response_model=SimulationList, openapi_extra=described(*_KEEPING))
    async def list_simulations(
        before: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
    ) -> dict[str, Any]:
        """Simulations, newest first, those of the command line included."""
        page = await runs.page(before=before, limit=limit)
        return {
            "simulations": [_told(run) for run in page],
            "next": page[-1].id if len(page) == limit else None,
        }

    @routes.get("/simulations/{run}", response_model=SimulationResult, openapi_extra=one_extra)
    async def show_simulation(run: RunNumber) -> Response:
        """One simulation: its progress, curves and tables, a second old at most while it is played."""
        found = await runs.get(run)
        body = await asyncio.to_thread(_result, found)
        return Response(body, media_type="application/json")

    @routes.post("/simulations/{run}/cancel", response_model=Simulation, openapi_extra=one_extra)
    async def cancel_simulation(run: RunNumber) -> dict[str, Any]:
        """End a simulation and keep what is done; one that has ended stays as it is."""
        return _told(await runs.cancel(run))

    @routes.delete("/simulations/{run}", status_code=204, response_class=Response, openapi_extra=one_extra)
    async def delete_simulation(run: RunNumber) -> Response:
        """End a simulation and forget all about it."""
        await runs.delete(run)
        return Response(status_code=204)

    return routes


def _told(run: Run) -> dict[str, Any]:
    left = None
    if run.state == "running" and run.started is not None and run.heartbeat is not None and run.done:
        left = (run.heartbeat - run.started) / run.done * (run.total - run.done)
    return {
        "id": run.id,
        "state": run.state,
        "client": run.client,
        "created": iso(run.created),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "progress": {"done": run.done, "total": run.total, "seconds_left": left},
        "plan": json.loads(run.plan),
        "error": run.error,
    }


def _result(run: Run) -> bytes:
    summary = {"policies": {}, "baselines": {}, "personas": {}} | json.loads(run.summary or "{}")
    return json.dumps(_told(run) | summary).encode()
