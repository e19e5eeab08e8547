"""The routes that simulate policies in the background: a run is queued, played by a child process, and looked at."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from bandstand.api.openapi import describe_operation
from bandstand.api.routes.helpers import build_router, get_client, parse_request
from bandstand.api.schemas.simulations import (
    SIMULATION,
    Simulation,
    SimulationList,
    SimulationResult,
)
from bandstand.errors import OverloadedError, StorageFullError, StorageUnavailableError, UnknownPolicyError
from bandstand.service.runs import RunStatus, build_status
from bandstand.service.simulations import SimulationPage
from bandstand.simulate.background import SimulationQueue
from bandstand.simulate.errors import UnknownRunError
from bandstand.simulate.limits import DEFAULT_POLICIES, LIMITS
from bandstand.store.tables.run_table import MAX_RUN_ID, RunRecord

_PAGE = 200
_DEFAULTS = {"policies": list(DEFAULT_POLICIES), "seeds": LIMITS["seeds"].default}
RunNumber = Annotated[int, Path(ge=1, le=MAX_RUN_ID)]
_KEEPING = (StorageUnavailableError, StorageFullError)


def build_simulations_router(runs: SimulationQueue) -> APIRouter:
    """The routes over one service's runs."""
    routes = build_router("simulations")
    start_extra = describe_operation(OverloadedError, UnknownPolicyError, *_KEEPING, body=SIMULATION)
    run_extra = describe_operation(UnknownRunError, *_KEEPING)

    @routes.post("/simulations", status_code=202, response_model=Simulation, openapi_extra=start_extra)
    async def start_simulation(request: Request, response: Response) -> RunStatus:
        """Queue a simulation; simulations run in the background, one after the other."""
        body = await parse_request(request, SIMULATION)
        run = await runs.start(_DEFAULTS | body, get_client(request))
        response.headers["location"] = f"/simulations/{run.id}"
        return build_status(run)

    @routes.get("/simulations", response_model=SimulationList, openapi_extra=describe_operation(*_KEEPING))
    async def list_simulations(
        before: Annotated[int | None, Query(ge=1, le=MAX_RUN_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
    ) -> SimulationPage:
        """Simulations, newest first, those of the command line included."""
        page = await runs.list_page(before=before, limit=limit)
        return SimulationPage(
            simulations=[build_status(run) for run in page], next=page[-1].id if len(page) == limit else None
        )

    @routes.get("/simulations/{run}", response_model=SimulationResult, openapi_extra=run_extra)
    async def show_simulation(run: RunNumber) -> Response:
        """One simulation: its progress, curves and tables, a second old at most while it is played."""
        found = await runs.get(run)
        body = await asyncio.to_thread(_render_result, found)
        return Response(body, media_type="application/json")

    @routes.post("/simulations/{run}/cancel", response_model=Simulation, openapi_extra=run_extra)
    async def cancel_simulation(run: RunNumber) -> RunStatus:
        """Stop a simulation and keep what is done; one that has ended stays as it is."""
        return build_status(await runs.cancel(run))

    @routes.delete("/simulations/{run}", status_code=204, response_class=Response, openapi_extra=run_extra)
    async def delete_simulation(run: RunNumber) -> Response:
        """End a simulation and forget all about it."""
        await runs.delete(run)
        return Response(status_code=204)

    return routes


def _render_result(run: RunRecord) -> bytes:
    summary = {"policies": {}, "baselines": {}, "personas": {}} | json.loads(run.summary or "{}")
    return json.dumps(asdict(build_status(run)) | summary).encode()
