"""What was shown, and what gets picked, on the wire."""

from typing import Literal

from pydantic import BaseModel, Field

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.requests import Id
from bandstand.api.schemas.values import Valued
from bandstand.store.records import LAST_SEQ

_MAX_TEXT = 500


class DecisionQuery(BaseModel):
    """What a search may ask; what is left out does not narrow it."""

    words: str = Field(
        "", max_length=_MAX_TEXT, description="All of them stand in one candidate's content, in any order and case"
    )
    candidate_id: str = Field("", max_length=_MAX_TEXT, description="A candidate's id")
    among: Literal["picked", "offered"] = Field(
        "picked", description="Asked of what was picked, or of every candidate of the request"
    )
    user_id: Id | None = Field(None, description="Whom it was for")
    since: str = Field("", max_length=_MAX_TEXT, description="Decided at that time or later: ISO 8601")
    until: str = Field("", max_length=_MAX_TEXT, description="Decided before that time")
    before: int = Field(LAST_SEQ, ge=0, le=LAST_SEQ, description="The `next` of the page before")
    limit: int = Field(50, ge=1, le=200)


class ShownCandidate(AnswerBody):
    """A candidate that fits."""

    tip_id: str
    content: str | None = Field(description="Null where the request left it out, or this key may not see it")
    source: str | None


class ShownDecision(AnswerBody):
    """A decision that fits, and what it showed."""

    decision_id: str
    user_id: str
    ts: str
    policy: str
    tip_id: str
    content: str | None = Field(description="Of the pick; null where the request left it out, or it is withheld")
    source: str | None
    propensity: float
    exploring: bool
    held: bool = Field(description="It was held back and never shown")
    reward: float | None = Field(description="The newest; null where none came")
    applied: bool | None = Field(description="Whether that taught, and was not taken back since")
    reason: str | None = Field(description="Why not")
    matches: list[ShownCandidate] = Field(description="The candidates that fit, the first ten of them")


class ShownDecisions(AnswerBody):
    """Decisions that fit, newest first."""

    decisions: list[ShownDecision]
    next: int | None = Field(description="The `before` of where to look on; null where there is nothing further")
    searched: int = Field(description="Decisions looked at for this page, 10,000 at most")
    reached: str | None = Field(description="When the oldest of these was made")
    content_withheld: bool = Field(description="Contents are left out: this key may not see them")


class PickShare(AnswerBody):
    """Picks that have something in common."""

    name: str = Field(description="The item's id, the source, or the value; of many numbers a range")
    picks: int
    share: float = Field(description="Of all picks looked at")
    rewarded: int = Field(description="Picks with a reward that stands")
    mean_reward: Valued | None = Field(description="Of these; null for none")
    difference: Valued | None = Field(description="To the mean over all other picks; null where either has no reward")


class PickShares(AnswerBody):
    """Groups of picks, the largest first; of a number all of them, in its order."""

    groups: list[PickShare]
    distinct: int = Field(description="How many groups there are")
    others: PickShare | None = Field(description="The picks of the groups that are not listed; null where all are")


class Picks(AnswerBody):
    """What was picked lately, and what it earned."""

    sentence: str
    since: str | None = Field(description="When the oldest of them was made")
    decisions: int = Field(description="How many were looked at: the newest")
    max_decisions: int = Field(description="No more than so many are")
    rewarded: int
    mean_reward: Valued | None
    items: PickShares = Field(description="By the id of the picked candidate")
    sources: PickShares
    features: dict[str, PickShares] = Field(description="By each feature of the picked candidate")
    content_withheld: bool = Field(description="Feature values are left out: this key may not see them")
