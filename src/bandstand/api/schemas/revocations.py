"""What taking rewards back looks like on the wire: the request, and the answer as OpenAPI shows it."""

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.requests import MAX_ID, Id, RequestBody, Time

REVOCATION_EXAMPLES: dict[str, Any] = {
    "client": {
        "summary": "What a key gave on one day, without doing it yet",
        "value": {
            "client": "shop",
            "since": "2026-01-30T00:00:00Z",
            "until": "2026-01-31T00:00:00Z",
            "dry_run": True,
        },
    },
    "judge": {"summary": "What one version of the judge taught", "value": {"judge_version": "gpt-5-nano"}},
}


class RevocationRequest(TypedDict):
    """Which rewards are taken back: those that fit everything given, and something must be."""

    # A field that is not known is refused: one that was meant to narrow the choice must not be skipped.
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]  # pydantic's documented hook

    decision_id: NotRequired[Id]
    client: NotRequired[Annotated[str, Field(min_length=1, max_length=MAX_ID, description="Name of an API key")]]
    judge_version: NotRequired[
        Annotated[str, Field(min_length=1, max_length=MAX_ID, description="Model or prompt hash of a verdict")]
    ]
    since: NotRequired[Annotated[Time, Field(description="Given then or later")]]
    until: NotRequired[Annotated[Time, Field(description="Given before")]]
    dry_run: NotRequired[Annotated[bool, Field(description="Change nothing, and answer what would be")]]


REVOCATION = RequestBody("RevocationRequest", TypeAdapter(RevocationRequest), REVOCATION_EXAMPLES)
REQUEST_BODIES = (REVOCATION,)


class Selected(BaseModel):
    """What was meant: the fields of the request that were given."""

    decision_id: str | None = None
    client: str | None = None
    judge_version: str | None = None
    since: str | None = None
    until: str | None = None


class Undone(BaseModel):
    """The record of rewards that were taken back."""

    ts: str
    by: str = Field(description="Name of the API key that asked")
    selection: Selected
    rewards: int
    users: int
    policies: dict[str, int] = Field(description="Rewards by policy")


class Revocations(BaseModel):
    """A page of records, the newest first."""

    revocations: list[Undone]
    next: int | None = Field(description="The `before` of the next page; null on the last")


class PassedOver(BaseModel):
    """Rewards that fit, and that no sums hold."""

    revoked_before: int
    forgotten: int = Field(description="Of users who were reset, or imported, since")
    never_taught: int


class OutOfReach(BaseModel):
    """What may match and can no longer be told apart: it is in the state that retention kept in place of events."""

    users: int
    until: str | None = Field(description="The newest moment for which that is so")


class Revocation(BaseModel):
    """What was taken back, or with `dry_run` would be."""

    ok: bool
    dry_run: bool
    rewards: int
    users: int
    policies: dict[str, int] = Field(description="Rewards by policy")
    priors: list[str] = Field(description="Policies whose population prior was learned again; none in a dry run")
    passed_over: PassedOver
    out_of_reach: OutOfReach
