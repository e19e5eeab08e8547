"""What judgements look like on the wire: the requests, and the answers as OpenAPI shows them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.requests import Id, RequestBody, Time

MAX_RETRIED = 1000

Status = Literal["waiting", "scored", "taught", "withheld", "unscored"]

_STRICT = ConfigDict(strict=True, extra="forbid")

OVERRIDE_EXAMPLES: dict[str, Any] = {"praise": {"summary": "It was praise", "value": {"label": "pos_praise"}}}
RETRY_EXAMPLES: dict[str, Any] = {
    "all": {"summary": "All that are unscored", "value": {}},
    "timeouts": {
        "summary": "Those that timed out since a time",
        "value": {"reason": "timeout", "since": "2026-01-30T00:00:00Z"},
    },
}
REAPPLY_EXAMPLES: dict[str, Any] = {
    "since": {"summary": "Turns taken since a time", "value": {"since": "2026-01-30T00:00:00Z"}}
}

Since = Annotated[Time, Field(description="Turns taken then or later")]


class OverrideRequest(TypedDict):
    """A person's verdict."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # pydantic's documented hook

    label: Annotated[Id, Field(description="One of the judgement's taxonomy")]


class RetryRequest(TypedDict):
    """Which unscored turns are to wait again; all, if no field is given."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    judgement_ids: NotRequired[Annotated[list[Id], Field(min_length=1, max_length=MAX_RETRIED)]]
    since: NotRequired[Since]
    reason: NotRequired[Id]


class ReapplyRequest(TypedDict):
    """Which verdicts the gate is applied to again."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # as above

    since: Since


OVERRIDE = RequestBody("OverrideRequest", TypeAdapter(OverrideRequest), OVERRIDE_EXAMPLES)
RETRY = RequestBody("RetryRequest", TypeAdapter(RetryRequest), RETRY_EXAMPLES)
REAPPLY = RequestBody("ReapplyRequest", TypeAdapter(ReapplyRequest), REAPPLY_EXAMPLES)
REQUEST_BODIES = (OVERRIDE, RETRY, REAPPLY)


class TurnTaken(AnswerBody):
    """A turn is kept."""

    ok: Literal[True]
    judgement_id: str = Field(description="Look at it under /judgements/{judgement_id}")
    policy: str
    decision_id: str | None


class JudgementEntry(AnswerBody):
    """A turn taken as a reward, and how it stands."""

    judgement_id: str
    user_id: str
    decision_id: str | None = Field(description="Null in the legacy form, and once retention has taken the decision")
    tip_id: str
    policy: str
    taxonomy: str
    client: str = Field(description="Name of the API key that sent the turn")
    ts: str
    status: Literal["waiting", "scored", "unscored"]
    taught: bool = Field(description="Whether it teaches the policy")
    reason: str | None = Field(description="Why it is unscored, or why it does not teach")


class Concluded(AnswerBody):
    """What was made of the turn at one time."""

    cause: Literal["judge", "override", "reapply"]
    client: str
    ts: str
    verdict: dict[str, Any] | None = Field(description="As it was given; what quotes the turn goes with its words")
    applied: dict[str, Any] | None = Field(description="By which map, threshold and calibration")
    state: Literal["taught", "withheld", "unscored"]
    reason: str | None
    reward: float | None = Field(description="What it taught; null for nothing")


class Judgement(JudgementEntry):
    """A judgement with its verdict, and everything that was made of it."""

    verdict: dict[str, Any] | None = Field(description="The one that stands")
    applied: dict[str, Any] | None
    reward: float | None
    history: list[Concluded] = Field(description="Oldest first; the first is the judge's own")
    content_withheld: bool = Field(description="What quotes the turn is left out: this key may not see it")


class JudgementPage(AnswerBody):
    """Judgements, newest first."""

    judgements: list[JudgementEntry]
    next: int | None = Field(description="The `before` of the next page; null on the last")


class Retried(AnswerBody):
    """How many turns wait again."""

    ok: Literal[True]
    retried: int
    left: int = Field(description="Their decisions have other rewards, or are gone")


class Reapplied(AnswerBody):
    """How many verdicts teach something else now."""

    ok: Literal[True]
    looked_at: int
    changed: int
    out_of_reach: int = Field(description="What they taught cannot be told from the rest any more")
