"""The schemas of answers, as OpenAPI shows them.

Score and reward write the same JSON by hand, and a test compares. An answer may hold more fields than are named here.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Ranked(_Answer):
    """One candidate of a ranking."""

    tip_id: str
    score: float
    propensity: float


class ScoreResponse(_Answer):
    """The pick."""

    tip_id: str
    score: float = Field(description="What the policy gave the picked candidate")
    policy: str
    decision_id: str | None = Field(description="Reward it by this id; null if it could not be logged")
    propensity: float = Field(description="Probability with which this candidate was picked, as drawn and logged")
    exploring: bool
    ranking: list[Ranked] | None = Field(default=None, description="On request: all candidates, best score first")


class RewardResponse(_Answer):
    """What came of a reward."""

    ok: Literal[True]
    policy: str = Field(description="The policy it belongs to")
    reward: float = Field(description="The value taken, also from a reaction")
    applied: bool = Field(description="Whether it taught the policy")
    reason: str | None = Field(description="Why it did not: `reset` where the user was reset after the decision")
    decision_id: str | None


class UserStats(_Answer):
    """What one policy knows of one user."""

    user_id: str
    pulls: int
    reward_count: int
    cumulative_reward: float
    estimated_mean_reward: float
    theta: list[float]
    last_updated: str | None = Field(description="ISO 8601, UTC; of the newest decision or reward")
    policy: str
    exploration_rate: float
    feature_labels: list[str] = Field(description="Names of the numbers in theta")


class PolicyStats(_Answer):
    """What one policy did in the whole deployment."""

    decisions: int
    exploration_rate: float
    rewards: int
    mean_reward: float


class DeploymentStats(_Answer):
    """What all policies did for all users."""

    users: int
    decisions: int
    rewards: int
    policies: dict[str, PolicyStats]


class Scoring(_Answer):
    """One decision in a user's history."""

    ts: str
    features: dict[str, Any] = Field(description="The raw values the pick was made on, defaults filled in")
    score: float
    tip_id: str
    decision_id: str
    policy: str
    exploring: bool
    propensity: float
    day_of_week: int


class History(_Answer):
    """A user's newest decisions, oldest first."""

    user_id: str
    history: list[Scoring]


class Considered(_Answer):
    """One candidate, as the policy saw it."""

    tip_id: str
    features: list[float] | None = Field(description="x; null once its schema is no longer configured")
    mean: float
    width: float
    score: float
    probability: float


class RewardTaken(_Answer):
    """The reward that stands for a decision."""

    reward: float
    applied: bool
    reason: str | None
    source: str
    ts: str
    client: str


class Receipt(_Answer):
    """Everything a decision was made of: enough to make the same pick again."""

    decision_id: str
    user_id: str
    ts: str
    client: str = Field(description="Name of the API key that asked")
    policy: str
    policy_hash: str
    schema_: str = Field(alias="schema", description="Name of the feature schema")
    schema_hash: str
    tip_id: str
    score: float
    propensity: float
    exploring: bool
    seed: float = Field(description="The uniform draw u in [0, 1); below the floor δ it explored")
    floor: float = Field(description="δ, the share of uniform picks")
    context: dict[str, Any]
    feature_labels: list[str] | None
    candidates: list[Considered]
    reward: RewardTaken | None


class PolicyEntry(_Answer):
    """A configured policy."""

    name: str
    kind: str
    hash: str
    active: bool
    aliases: list[str]
    parameters: dict[str, float]
    schema_: str = Field(alias="schema", description="Name of the feature schema")
    schema_hash: str
    feature_labels: list[str]


class Policies(_Answer):
    """The configured policies."""

    active: str
    policies: list[PolicyEntry]


class Health(_Answer):
    """The process lives."""

    ok: Literal[True]
    version: str
    active_policy: str
    durability: str
    quarantined: int = Field(description="Users' documents set aside since the start")
    last_error: str | None = Field(description="Of the store")


class Ready(_Answer):
    """The store takes events."""

    ready: Literal[True]


class User(_Answer):
    """A known user."""

    user_id: str


class Users(_Answer):
    """A page of known users."""

    users: list[User]
    next: int | None = Field(description="The `after` of the next page; null on the last")


class Erased(_Answer):
    """The receipt of an erasure."""

    ok: Literal[True]
    erased: dict[str, int] = Field(description="How much of each kind went")
    unreachable: list[str] = Field(description="What may still hold something and cannot be reached from here")


class Ok(_Answer):
    """Done."""

    ok: Literal[True]


class Fault(BaseModel):
    """One field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details; never echoes input."""

    type: str = Field(description="`urn:bandstand:problem:` and the code")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Fault] | None = Field(default=None, description="The fields at fault, at most 20")
