"""The schemas of answers, as OpenAPI shows them.

Score and reward write the same JSON by hand, and a test compares. An answer may hold more fields than are named here.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AnswerBody(BaseModel):
    """Any answer: it may hold more fields than are named."""

    model_config = ConfigDict(extra="allow")


class Ranked(AnswerBody):
    """One candidate of a ranking."""

    tip_id: str
    score: float
    propensity: float


class SlotPick(AnswerBody):
    """What one slot shows."""

    slot: str
    tip_id: str
    score: float
    decision_id: str = Field(description="Reward the slot by this id")
    propensity: float = Field(description="Probability of this candidate, given what the slots before it show")
    exploring: bool


class ScoreResponse(AnswerBody):
    """The pick."""

    tip_id: str
    score: float = Field(description="What the policy gave the picked candidate")
    policy: str
    decision_id: str | None = Field(description="Reward it by this id; null if it could not be logged")
    propensity: float = Field(description="Probability with which this candidate was picked, as drawn and logged")
    exploring: bool
    ranking: list[Ranked] | None = Field(
        default=None, description="On request: all candidates, best score first; an excluded one keeps its place"
    )
    slots: list[SlotPick] | None = Field(
        default=None, description="Of a request with slots: what each shows; the fields above are those of the first"
    )


class RewardResponse(AnswerBody):
    """The result of a reward."""

    ok: Literal[True]
    policy: str = Field(description="The policy it belongs to")
    reward: float = Field(description="The value taken, also from a reaction")
    applied: bool = Field(description="Whether it taught the policy")
    reason: str | None = Field(description="Why it did not: see docs/rewards.md")
    decision_id: str | None
    aggregate: float | None = Field(
        default=None, description="Of rewards over time: what the decision has taught with this one"
    )


class Activated(AnswerBody):
    """The result of an activation."""

    ok: Literal[True]
    decision_id: str
    activated: bool = Field(description="Whether the decision counts as shown")
    applied: bool = Field(description="Whether a reward that came before has taught its policy now")
    reward: float | None = Field(description="What that came to")
    reason: str | None = Field(description="`window_ended` where it came too late; `reset` where the user was reset")


class UserStats(AnswerBody):
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


class PolicyStats(AnswerBody):
    """What one policy did in the whole deployment."""

    decisions: int
    exploration_rate: float
    rewards: int
    mean_reward: float


class Scoring(AnswerBody):
    """One decision in a user's history."""

    ts: str
    features: dict[str, Any] = Field(description="The raw values the pick was made on, defaults filled in")
    score: float
    tip_id: str
    decision_id: str
    policy: str
    exploring: bool
    propensity: float
    day_of_week: int | None = Field(description="Null where the policy does not look at it")


class History(AnswerBody):
    """A user's newest decisions, oldest first."""

    user_id: str
    history: list[Scoring]
    content_withheld: bool = Field(description="The features are left out: this key may not see them")


class FeatureContribution(AnswerBody):
    """What one feature adds to a candidate's mean."""

    name: str = Field(description="A column's label; of open features a token, or two, as path=value")
    value: float = Field(description="Its part of x")
    weight: float = Field(description="The weight of its column now")
    contribution: float = Field(description="Their product")


class Explanation(AnswerBody):
    """What a candidate's mean is made of now."""

    mean: float = Field(description="The sum of all contributions")
    contributions: list[FeatureContribution] = Field(description="The 50 largest in size, the largest first")


class Considered(AnswerBody):
    """One candidate, as the user saw it and as the policy did."""

    tip_id: str
    content: str | None = Field(description="What was shown; null where the request left it out, as the next two")
    source: str | None
    source_id: str | None
    raw_features: dict[str, Any] = Field(description="As they were sent")
    features: list[float] | None = Field(description="x; null once its schema is no longer configured")
    mean: float
    width: float
    score: float
    probability: float
    excluded: bool = Field(description="The request did not let it be picked")
    explanation: Explanation | None = Field(description="With explain=true, while its policy is configured")


class ShadowPick(AnswerBody):
    """What a policy in the shadow would have done with the decision."""

    policy: str
    policy_hash: str
    tip_id: str = Field(description="What the decision's own seed draws from its distribution")
    agrees: bool = Field(description="Whether that is what was served")
    exploring: bool
    propensity: float = Field(description="Of its own pick")
    weight: float = Field(description="Its probability of the served pick, over the one that pick was drawn with")
    probabilities: list[float] = Field(description="Of every candidate, in their order")


class RewardTaken(AnswerBody):
    """The reward that stands for a decision."""

    reward: float
    applied: bool
    reason: str | None
    source: str
    ts: str
    client: str


class DecisionTurn(AnswerBody):
    """The turn that was taken as the decision's reward."""

    judgement_id: str
    status: Literal["waiting", "scored", "unscored"]
    label: str | None = Field(description="Of the verdict that stands")
    confidence: float | None


class TipSource(AnswerBody):
    """Where the pick was written."""

    generation_id: str | None = Field(description="Null, as the model, once retention has taken the generation")
    prompt_version: str
    model: str | None


class Receipt(AnswerBody):
    """Everything a decision was made from: enough to compute the same pick again."""

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
    judgement: DecisionTurn | None
    generation: TipSource | None
    shadows: list[ShadowPick]
    held: bool = Field(description="It was held back, and not activated: its rewards are kept, and teach nothing")
    window_ends: str | None = Field(description="Until when its rewards count; null for ever")
    content_withheld: bool = Field(
        description="Contents, features, context and explanations are left out: this key may not see them"
    )


class PolicyEntry(AnswerBody):
    """A configured policy."""

    name: str
    kind: str
    hash: str
    active: bool = Field(description="Whether un-named requests mean it, of all users or of some")
    share: float = Field(description="The share of the users whose un-named requests mean it")
    shadow: bool = Field(description="Whether it looks at what other policies decide, and learns from their rewards")
    aliases: list[str]
    parameters: dict[str, float]
    prior: Literal["auto", "standard", "population"] | None = Field(
        description="What a new user starts from; null where nothing is believed of users"
    )
    schema_: str = Field(alias="schema", description="Name of the feature schema")
    schema_hash: str
    feature_labels: list[str] = Field(description="Names of the numbers in theta")


class ActivePolicy(AnswerBody):
    """Which policy is active, and how that came about."""

    active: str = Field(description="What un-named requests mean; in an experiment, its arm of the largest weight")
    since: str | None = Field(description="When it was promoted; null where it is active without that")
    by: str | None = Field(description="Name of the API key that promoted it")
    pinned_by: Literal["ACTIVE_POLICY", "EXPERIMENT"] | None = Field(description="The setting that decides it")


class Change(AnswerBody):
    """One change of the active policy."""

    ts: str
    by: str
    action: Literal["promote", "demote"]
    policy: str = Field(description="Active from then on")
    instead_of: str


class Policies(ActivePolicy):
    """The configured policies, which one is active, and how that came about."""

    promotions: list[Change] = Field(description="The newest 100 changes, the newest first")
    policies: list[PolicyEntry]


class HealthWarning(AnswerBody):
    """Something that needs a person's attention."""

    code: str = Field(description="What kind, for machines")
    message: str = Field(description="What is wrong")
    since: str | None = Field(description="The UTC day from which on; null where that is not known")
    advice: str = Field(description="What helps")


class SharedLedgerHealth(AnswerBody):
    """A process's hold on a ledger that it shares."""

    store: Literal["postgresql"]
    slot: int = Field(description="The process numbers its events by it")
    leader: bool = Field(description="It does what one process does for all")
    processes: int = Field(description="How many share the ledger")
    configurations: int = Field(description="How many different settings these have")
    format: int = Field(description="Of the ledger")
    last_round_trip_ms: float | None = Field(description="Of the last thing that was written")
    clock_skew_ms: float = Field(description="By how much this clock is ahead of the database's")
    synchronous_standbys: int | None = Field(
        description="Connected standbys that commits wait for; null where the database's role may not see them"
    )

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> "SharedLedgerHealth | None":
        """From what a store says of itself; ``None`` of one that shares nothing."""
        if details.get("store") != "postgresql":
            return None
        return cls(**{name: details[name] for name in cls.model_fields})


class Health(AnswerBody):
    """The process lives."""

    ok: Literal[True]
    version: str
    active_policy: str
    durability: str
    quarantined: int = Field(description="Users' documents set aside since the start")
    last_error: str | None = Field(description="Of the store")
    ledger: SharedLedgerHealth | None = Field(
        default=None, description="The hold on a shared ledger; null in a state directory"
    )
    warnings: list[HealthWarning] = Field(description="What needs a person's attention, at most a minute old")


class Ready(AnswerBody):
    """The store takes events."""

    ready: Literal[True]


class User(AnswerBody):
    """A known user."""

    user_id: str


class Users(AnswerBody):
    """A page of known users."""

    users: list[User]
    next: int | None = Field(description="The `after` of the next page; null on the last")


class Erased(AnswerBody):
    """The receipt of an erasure."""

    ok: Literal[True]
    erased: dict[str, int] = Field(description="How much of each kind went")
    unreachable: list[str] = Field(description="What may still hold something and cannot be reached from here")
    loops: dict[str, dict[str, int]] | None = Field(
        None, description="The same by loop, where there are others than the default one"
    )


class Ok(AnswerBody):
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
