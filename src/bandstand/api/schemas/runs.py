"""Background runs on the wire, of every kind."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Progress(BaseModel):
    """How far a run is."""

    done: int = Field(description="Decisions of a simulation, events of the log for an evaluation")
    total: int
    seconds_left: float | None = Field(description="While it is played, if it goes on as it has")


class Run(BaseModel):
    """A run."""

    model_config = ConfigDict(extra="allow")

    id: int
    state: Literal["queued", "running", "done", "interrupted", "cancelled", "failed"]
    client: str = Field(description="The key that asked for it; `-` is the command line")
    created: str
    started: str | None
    ended: str | None
    progress: Progress
    plan: dict[str, Any]
    error: str | None = Field(description="Why it failed")
