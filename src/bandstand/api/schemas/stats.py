"""The schemas of ``GET /stats`` without a user: how the deployment's loop, split, shadows and judge stand."""

from typing import Literal

from pydantic import Field

from bandstand.api.schemas.gains import Gains
from bandstand.api.schemas.learning import AnswerBody, PolicyStats
from bandstand.api.schemas.readouts import ArmsReadout, HoldoutStanding
from bandstand.api.schemas.values import Valued


class ArmStanding(AnswerBody):
    """One arm of an experiment."""

    share: float = Field(description="Of the users, as configured")
    users: int = Field(description="Users it decided for, each once")
    expected: float = Field(description="How many that should be")


class ExperimentStanding(AnswerBody):
    """An experiment, and whether its arms met as many users as they should."""

    name: str
    since: str
    users: int
    arms: dict[str, ArmStanding]
    chi_square: float | None = Field(description="Null while fewer than 5 users are expected in some arm")
    p_value: float | None
    mismatch: bool = Field(description="p < 0.001: the split is broken, and the arms cannot be compared")
    readout: ArmsReadout = Field(description="Who wins; the control is the arm of the largest share")


class Exploration(AnswerBody):
    """How often the uniform share drew, and how often it should have."""

    rate: float | None
    expected: float | None
    p_value: float | None


class Weight(AnswerBody):
    """The mean of 1/(K·p) over the picks: what a uniform policy's estimate on this log would weigh them with."""

    mean: float | None
    stderr: float | None
    expected: float | None = Field(description="The share of the candidates that had a chance: 1 under any floor")
    p_value: float | None


class LikeliestPicked(AnswerBody):
    """Whether the likeliest candidate was picked as often as logged, by tenths of its probability."""

    chi_square: float | None
    freedom: int
    p_value: float | None


class Delays(AnswerBody):
    """Quantiles of the seconds from decision to reward, to within 9 % of 1 s + the delay."""

    p50: float
    p90: float
    p99: float


class Condition(AnswerBody):
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


class LoopScope(AnswerBody):
    """The condition of all policies together and of each."""

    all: Condition
    policies: dict[str, Condition]


class LoopDay(LoopScope):
    """A day, in UTC, of the decisions."""

    day: str


class LoopDrift(AnswerBody):
    """What a policy's users want has changed, and which of their rewards count since."""

    policy: str
    day: str = Field(description="On which it was found, in UTC")
    half_life_days: float | None = Field(description="In which a reward loses half of its weight; null for never")
    since: str | None = Field(description="The day from which on rewards count; null where all do")


class Loop(LoopScope):
    """The health of the learning loop."""

    days: list[LoopDay] = Field(description="Of the newest 31 days those with events, the newest first")
    drift: list[LoopDrift] = Field(description='The newest change of each policy with half_life = "auto"')


class TurnCoverage(AnswerBody):
    """What became of the turns of one policy's decisions."""

    turns: int
    waiting: int
    scored: int = Field(description="Those with a verdict")
    taught: int = Field(description="Those whose verdict teaches")
    withheld: dict[str, int] = Field(description="Those with a verdict that does not, by reason")
    unscored: dict[str, int] = Field(description="Those without a verdict, by reason")


class JudgeSpending(AnswerBody):
    """What the judge's LLM cost in this UTC day."""

    tokens: int = Field(description="With what is reserved for turns under way")
    usd: float
    over_budget: int = Field(description="Turns and calls for which there was no budget, since the start")


class JudgeCoverage(AnswerBody):
    """What became of turns."""

    waiting: int
    today: JudgeSpending
    policies: dict[str, TurnCoverage]


class ShadowStanding(AnswerBody):
    """A shadow policy compared with what was served, on the same decisions."""

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


class MemoryScore(AnswerBody):
    """How well a memory foretold the newest rewards."""

    half_life_days: float | None = Field(description="Null where a reward's weight does not decay")
    since: str | None = Field(description="Rewards from before do not count; null where all do")
    score: float = Field(
        description="Log-likelihood of the rewards, each before it was taught, the newest counting most"
    )


class MemoryStanding(AnswerBody):
    """Which rewards count for a policy, and whether its users' tastes have drifted."""

    half_life_days: float | None = Field(description="In which a reward loses half of its weight; null for never")
    since: str | None = Field(description="The change from which on rewards count; null where all do")
    changed_at: str | None = Field(description="When that was found; null where nothing ever drifted")
    gain: float | None = Field(description="By how much its score was above that of the memory before")
    compared_at: str | None = Field(description="When memories were last compared")
    scores: list[MemoryScore]


class UnreadFeature(AnswerBody):
    """Something that callers send and no schema reads."""

    where: Literal["request", "context", "candidate", "features", "reward features"]
    name: str = Field(description="As it was sent; `(other)` for what is no name, and beyond the first hundred")
    count: int = Field(description="With how many requests, candidates or rewards it came")
    sentence: str = Field(description="What to make of it")


class ReadFeature(AnswerBody):
    """A field that a policy's schema reads."""

    policy: str
    where: Literal["context", "features"]
    name: str
    share: float = Field(description="Of the requests, or candidates, that came with it")
    is_constant: bool = Field(description="It had one value only, the default where it did not come")


class Contrast(AnswerBody):
    """How often a policy could not tell the candidates apart."""

    policy: str
    requests: int = Field(description="With more than one candidate")
    alike: int = Field(description="Of these, those in which all candidates read the same")


class OpenTokens(AnswerBody):
    """How the values of a policy's open feature met its columns."""

    policy: str
    met: int = Field(description="Values, however often, of every request")
    unseen: int = Field(description="Of them, those that had not been met before")
    distinct: int = Field(description="Different values that are remembered, up to 32,768 a side")
    columns: int = Field(description="That they are hashed into")
    colliding: int = Field(description="Remembered values that share their column with another one of their side")


class FeatureStats(AnswerBody):
    """What callers send, and what of it is read, since the start of the process."""

    requests: int
    looked_at: int = Field(description="The first 1,000 requests, then each sixty-fourth, which counts for all of them")
    unread: list[UnreadFeature]
    fields: list[ReadFeature] = Field(description="Of each policy that decided")
    contrasts: list[Contrast]
    tokens: list[OpenTokens] = Field(description="Of each policy that decided and reads open features")
    warnings: list[str] = Field(description="What is off, in sentences")


class MetricAverage(AnswerBody):
    """The mean of a metric over the rewards that brought it, and its normal interval of 95 %."""

    rewards: int = Field(description="How many brought it")
    mean: float
    low: float | None = Field(description="Null where fewer than two brought it, as high")
    high: float | None


class MetricStanding(AnswerBody):
    """A metric of one policy's decisions."""

    all: MetricAverage
    candidates: dict[str, MetricAverage] = Field(description="By the pick; the 50 with the most rewards")


class DeploymentStats(AnswerBody):
    """What all policies did for all users."""

    users: int
    decisions: int
    rewards: int
    policies: dict[str, PolicyStats]
    gain: Gains = Field(description="Whether what is served earns more than random, or the caller's first")
    experiment: ExperimentStanding | None = Field(description="Null while none runs")
    holdout: HoldoutStanding | None = Field(description="Null where nobody is held out")
    shadows: dict[str, ShadowStanding] | None = Field(description="By policy; null where none is in the shadow")
    judge: JudgeCoverage | None = Field(description="What became of turns; null where none are taken")
    loop: Loop
    memory: dict[str, MemoryStanding] = Field(description='Of each policy with `half_life = "auto"`')
    features: FeatureStats
    metrics: dict[str, dict[str, MetricStanding]] = Field(description="What rewards brought, by policy and name")
