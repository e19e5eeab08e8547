"""What applying a table to reactions of the past looks like on the wire."""

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.requests import RequestBody, Time
from bandstand.api.schemas.revocations import OutOfReach, PassedOver

REAPPLICATION_EXAMPLES: dict[str, Any] = {
    "dry run": {"summary": "What would change", "value": {}},
    "since": {"summary": "Do it, for what came since", "value": {"since": "2026-01-30T00:00:00Z", "dry_run": False}},
}


class ReapplicationRequest(TypedDict):
    """Which reactions are looked at; without anything, all of them, and nothing is changed."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]  # pydantic's documented hook

    since: NotRequired[Annotated[Time, Field(description="Sent then or later")]]
    dry_run: NotRequired[Annotated[bool, Field(description="Left out, nothing is changed; false does it")]]


REAPPLICATION = RequestBody("ReapplicationRequest", TypeAdapter(ReapplicationRequest), REAPPLICATION_EXAMPLES)
REQUEST_BODIES = (REAPPLICATION,)


class TableApplied(BaseModel):
    """The loop's present table of reactions."""

    name: str
    version: int
    hash: str


class Reapplication(BaseModel):
    """What was revised, or in a dry run would be."""

    ok: bool
    dry_run: bool
    table: TableApplied
    reactions: int = Field(description="Looked at")
    revised: int = Field(description="Worth something else now: taken back, and taught so")
    unchanged: int
    unmapped: int = Field(description="Of which the table says nothing; they stay as they are")
    users: int = Field(description="Of those that were revised")
    priors: list[str] = Field(description="Policies whose population prior was learned again; none in a dry run")
    passed_over: PassedOver
    out_of_reach: OutOfReach
