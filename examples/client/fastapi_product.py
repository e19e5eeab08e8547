"""A FastAPI product: one client for the whole program, rewards in the background.

uvicorn --app-dir examples/client fastapi_product:app --port 8010
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from bandstand_client import AsyncBandstand, AsyncOutbox, Candidate
from fastapi import FastAPI, Request

TIPS = [
    Candidate("tea", "Drink a cup of tea.", features={"priority": 1}),
    Candidate("tax", "Send the tax return.", features={"priority": 4, "is_overdue": True}),
    Candidate("plants", "Water the plants.", features={"priority": 2}),
]


@asynccontextmanager
async def run_client(app: FastAPI) -> AsyncIterator[None]:
    """Open the client as the program starts; as it ends, deliver what the outbox holds."""
    url = os.environ.get("BANDSTAND_URL", "http://127.0.0.1:8000")
    async with AsyncBandstand(url, os.environ.get("BANDSTAND_API_KEY")) as client, client.outbox() as outbox:
        app.state.client, app.state.outbox = client, outbox
        yield


app = FastAPI(lifespan=run_client)


@app.get("/")
async def show(request: Request, user: str) -> dict[str, str]:
    """A tip for a user; in a quarter of a second at most, whatever becomes of Bandstand."""
    client: AsyncBandstand = request.app.state.client
    now = datetime.now().astimezone()
    decision = await client.score(user, TIPS, context={"hour_of_day": now.hour, "day_of_week": now.weekday()})
    return {"tip": decision.pick.content, "decision": decision.id}


@app.post("/done")
async def done(request: Request, decision: str, seconds: float) -> dict[str, bool]:
    """The user did it, after so many seconds."""
    outbox: AsyncOutbox = request.app.state.outbox
    await outbox.react(decision, "done", dwell=seconds)
    return {"kept": True}
