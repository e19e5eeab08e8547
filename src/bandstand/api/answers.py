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


class ArmStanding(_Answer):
    """One arm of an experiment."""

    share: float = Field(description="Of the users, as configured")
    users: int = Field(description="Users it decided for, each once")
    expected: float = Field(description="How many that should be")


class ExperimentStanding(_Answer):
    """An experiment, and whether its arms met as many users as they should."""

    name: str
    since: str
    users: int
    arms: dict[str, ArmStanding]
    chi_square: float | None = Field(description="Null while fewer than 5 users are expected in some arm")
    p_value: float | None
    mismatch: bool = Field(description="p < 0.001: the split is broken, and the arms cannot be compared")


class Exploration(_Answer):
    """How often the uniform share drew, and how often it should have."""

    rate: float | None
    expected: float | None
    p_value: float | None


class Weight(_Answer):
    """The mean of 1/(K·p) over the picks: what a uniform policy's estimate on this log would weigh them with."""

    mean: float | None
    stderr: float | None
    expected: float | None = Field(description="The share of the candidates that had a chance: 1 under any floor")
    p_value: float | None


class LikeliestPicked(_Answer):
    """Whether the likeliest candidate was picked as often as logged, by tenths of its probability."""

    chi_square: float | None
    freedom: int
    p_value: float | None


class Delays(_Answer):
    """Quantiles of the seconds from decision to reward, to within 9 % of 1 s + the delay."""

    p50: float
    p90: float
    p99: float


class Condition(_Answer):
    """Whether some decisions were drawn as they were logged, and what came back for them."""

    decisions: int
    rewards: int = Field(description="That stand; also those that answer no decision")
    mean_reward: float | None
    answered: int = Field(description="Rewards that answer a decision")
    arrival_rate: float | None = Field(description="answered over decisions")
    delay: Delays | None
    sources: dict[str, float] = Field(description="Share of the rewards by where they came from")
    exploration: Exploration
    weight: Weight
    ess: float | None = Field(description="(Σ w)²/Σ w²: how many uniform picks this log is worth")
    draws: LikeliestPicked
    warnings: list[Literal["exploration", "weight", "draws"]] = Field(description="Those with p < 0.001")


class LoopScope(_Answer):
    """The condition of all policies together and of each."""

    all: Condition
    policies: dict[str, Condition]


class LoopDay(LoopScope):
    """A day, in UTC, of the decisions."""

    day: str


class Loop(LoopScope):
    """The health of the learning loop."""

    days: list[LoopDay] = Field(description="Of the newest 31 days those with events, the newest first")


class TurnCoverage(_Answer):
    """What became of the turns of one policy's decisions."""

    turns: int
    waiting: int
    scored: int = Field(description="Those with a verdict")
    taught: int = Field(description="Those whose verdict teaches")
    withheld: dict[str, int] = Field(description="Those with a verdict that does not, by reason")
    unscored: dict[str, int] = Field(description="Those without a verdict, by reason")


class JudgeSpending(_Answer):
    """What the judge's LLM cost in this UTC day."""

    tokens: int = Field(description="With what is reserved for turns under way")
    usd: float
    over_budget: int = Field(description="Turns and calls for which there was no budget, since the start")


class JudgeCoverage(_Answer):
    """What became of turns."""

    waiting: int
    today: JudgeSpending
    policies: dict[str, TurnCoverage]


class Valued(_Answer):
    """An estimate of the mean reward, and its normal interval of 95 %; null where there are too few rewards."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


class ShadowStanding(_Answer):
    """A policy in the shadow beside what was served, on the same decisions."""

    hash: str = Field(description="The definition that the numbers are of")
    decisions: int = Field(description="Of other policies, that it looked at")
    agreement: float | None = Field(description="Share of them in which it would have picked the same")
    rewarded: int = Field(description="Those with a reward that stands; what follows is over these")
    live: Valued | None = Field(description="What was earned")
    ips: Valued | None = Field(description="What it would have earned, by inverse propensities")
    snips: Valued | None = Field(description="The same, self-normalised")
    gain: Valued | None = Field(description="snips less live; its interval knows that both are of the same decisions")
    mean_weight: float | None = Field(description="Should be 1")
    ess: float | None = Field(description="(Σ w)²/Σ w²: how many of its own decisions these are worth")
    warnings: list[Literal["weight", "ess"]] = Field(
        description="mean_weight is off 1 beyond chance; ess is below 30 or 1 %"
    )


class DeploymentStats(_Answer):
    """What all policies did for all users."""

    users: int
    decisions: int
    rewards: int
    policies: dict[str, PolicyStats]
    experiment: ExperimentStanding | None = Field(description="Null while none runs")
    shadows: dict[str, ShadowStanding] | None = Field(description="By policy; null where none is in the shadow")
    judge: JudgeCoverage | None = Field(description="What became of turns; null where none are taken")
    loop: Loop


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
    day_of_week: int | None = Field(description="Null where the policy does not look at it")


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


class ShadowPick(_Answer):
    """What a policy in the shadow would have done with the decision."""

    policy: str
    policy_hash: str
    tip_id: str = Field(description="What the decision's own seed draws from its distribution")
    agrees: bool = Field(description="Whether that is what was served")
    exploring: bool
    propensity: float = Field(description="Of its own pick")
    weight: float = Field(description="Its probability of the served pick, over the one that pick was drawn with")
    probabilities: list[float] = Field(description="Of every candidate, in their order")


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
    shadows: list[ShadowPick]


class PolicyEntry(_Answer):
    """A configured policy."""

    name: str
    kind: str
    hash: str
    active: bool = Field(description="Whether un-named requests mean it, of all users or of some")
    share: float = Field(description="The share of the users whose un-named requests mean it")
    shadow: bool = Field(description="Whether it looks at what other policies decide, and learns from their rewards")
    aliases: list[str]
    parameters: dict[str, float]
    prior: Literal["standard", "population"] | None = Field(
        description="What a new user starts from; null where nothing is believed of users"
    )
    schema_: str = Field(alias="schema", description="Name of the feature schema")
    schema_hash: str
    feature_labels: list[str] = Field(description="Names of the numbers in theta")


class ActivePolicy(_Answer):
    """Which policy is active, and how that came about."""

    active: str = Field(description="What un-named requests mean; in an experiment, its arm of the largest weight")
    since: str | None = Field(description="When it was promoted; null where it is active without that")
    by: str | None = Field(description="Name of the API key that promoted it")
    pinned_by: Literal["ACTIVE_POLICY", "EXPERIMENT"] | None = Field(description="The setting that decides it")


class Change(_Answer):
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
