"""The contract's request models, as one writes them at first."""

from pydantic import BaseModel, Field


class Features(BaseModel):
    """What a candidate brings."""

    hour_of_day: int = 12
    is_overdue: bool = False
    task_age_days: float = 0
    priority: int = 1


class Candidate(BaseModel):
    """One of the things to pick from."""

    id: str
    content: str
    source: str
    source_id: str | None = None
    features: Features = Field(default_factory=Features)


class Context(BaseModel):
    """When."""

    hour_of_day: int = 12
    day_of_week: int = 0


class ScoreRequest(BaseModel):
    """Who, what from, when."""

    user_id: str
    candidates: list[Candidate]
    context: Context = Field(default_factory=Context)


class ScoreResponse(BaseModel):
    """The pick."""

    tip_id: str
    score: float
    policy: str


class RewardRequest(BaseModel):
    """What came of it."""

    user_id: str
    tip_id: str
    reward: float
    features: Features
    day_of_week: int = 0
