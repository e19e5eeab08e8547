"""What the pages of runs share: how one stands, its progress, and how it is ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bandstand.background_runs import RunQueue
from bandstand.console.auth import PageNotFoundError
from bandstand.console.pages import build_link
from bandstand.errors import BandstandError
from bandstand.service.runs import compute_seconds_left
from bandstand.store.tables.run_table import MAX_RUN_ID, RunRecord, RunState

LIVE_STATES = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as the pages show it; times in seconds, ``created`` since the epoch."""

    id: int
    state: RunState
    alive: bool
    client: str
    origin: str
    created: float
    seconds: float | None
    done: int
    total: int
    share: float
    left: float | None
    plan: Mapping[str, Any]
    error: str | None


def build_view(run: RunRecord) -> RunView:
    """A run, as the page shows it, from its row."""
    return RunView(
        id=run.id,
        state=run.state,
        alive=run.state in LIVE_STATES,
        client=run.client,
        origin=run.origin,
        created=run.created,
        seconds=None if run.started is None or run.ended is None else run.ended - run.started,
        done=run.done,
        total=run.total,
        share=min(1.0, run.done / run.total) if run.total else 0.0,
        left=compute_seconds_left(run),
        plan=json.loads(run.plan),
        error=run.error,
    )


def parse_summary(run: RunRecord) -> dict[str, Any] | None:
    """What came out so far; ``None`` for nothing yet."""
    summary: dict[str, Any] | None = json.loads(run.summary) if run.summary else None
    return summary


async def find_run(runs: RunQueue, run: int) -> RunRecord:
    """The run of that number.

    Raises:
        PageNotFoundError: there is none.
    """
    noun = runs.kind.noun
    if not 0 < run < MAX_RUN_ID:
        raise PageNotFoundError(f"there is no {noun} of that number")
    try:
        return await runs.get(run)
    except BandstandError as error:
        if not isinstance(error, runs.kind.unknown):
            raise
        raise PageNotFoundError(f"there is no {noun} of that number: deleted, or never started") from None


def add_progress_routes(routes: APIRouter, runs: RunQueue, path: str, page: str | None = None) -> None:
    """Add how far a run is, and the forms that stop it and delete it.

    Args:
        routes: where.
        runs: whose.
        path: of their list.
        page: where they are all shown, if they have neither a list nor pages of their own.
    """

    @routes.get(f"{path}/{{run:int}}/progress.json")
    async def get_progress(run: int) -> Response:
        view = build_view(await find_run(runs, run))
        return JSONResponse(
            {name: getattr(view, name) for name in ("state", "alive", "done", "total", "share", "left")},
            headers={"cache-control": "no-store"},
        )

    @routes.post(f"{path}/{{run:int}}/cancel")
    async def cancel_run(run: int) -> Response:
        await find_run(runs, run)
        await runs.cancel(run)
        return RedirectResponse(build_link(page or f"{path}/{run}"), 303)

    @routes.post(f"{path}/{{run:int}}/delete")
    async def delete_run(run: int) -> Response:
        await find_run(runs, run)
        await runs.delete(run)
        return RedirectResponse(build_link(page or path, done="deleted"), 303)
