"""The numbers of a whole deployment.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bandstand_client.answers.gains import ArmsReadout, Estimate, GainReport, Holdout
from bandstand_client.answers.loop import LoopHealth
from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class PolicyStats(Answer):
    """What one policy did in the whole deployment.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().policies["linucb-v2"].decisions >= 1
        True
    """

    decisions: int
    exploration_rate: float
    rewards: int
    mean_reward: float


@dataclass(frozen=True, kw_only=True)
class ExperimentArm(Answer):
    """One arm of an experiment.

    Attributes:
        share: of the users, as configured.
        users: users it decided for, each once.
        expected: how many that should be.

    Example:
        >>> client.deployment_stats().experiment is None
        True
    """

    share: float
    users: int
    expected: float


@dataclass(frozen=True, kw_only=True)
class Experiment(Answer):
    """An experiment, and whether its arms met as many users as they should.

    Attributes:
        chi_square: null while fewer than 5 users are expected in some arm.
        mismatch: p < 0.001: the split is broken, and the arms cannot be compared.
        readout: who wins; the control is the arm of the largest share.

    Example:
        >>> client.deployment_stats().experiment is None
        True
    """

    name: str
    since: str
    users: int
    arms: Mapping[str, ExperimentArm]
    chi_square: float | None = None
    p_value: float | None = None
    mismatch: bool
    readout: ArmsReadout


@dataclass(frozen=True, kw_only=True)
class ShadowPolicy(Answer):
    """A shadow policy compared with what was served, on the same decisions.

    Attributes:
        hash: the definition that the numbers are of.
        decisions: of other policies, that it looked at.
        agreement: share of them in which it would have picked the same.
        rewarded: those with a reward that stands; what follows is over these.
        live: what was earned.
        ips: what it would have earned, by inverse propensities.
        snips: the same, self-normalised.
        gain: snips less live; its interval knows that both are of the same decisions.
        mean_weight: should be 1.
        ess: (Σ w)²/Σ w²: how many of its own decisions these are worth.
        warnings: mean_weight is off 1 beyond chance; ess is below 30 or 1 %.

    Example:
        >>> client.deployment_stats().shadows is None
        True
    """

    hash: str
    decisions: int
    agreement: float | None = None
    rewarded: int
    live: Estimate | None = None
    ips: Estimate | None = None
    snips: Estimate | None = None
    gain: Estimate | None = None
    mean_weight: float | None = None
    ess: float | None = None
    warnings: tuple[Literal["weight", "ess"], ...]


@dataclass(frozen=True, kw_only=True)
class JudgeSpending(Answer):
    """What the judge's LLM cost in this UTC day.

    Attributes:
        tokens: with what is reserved for turns under way.
        over_budget: turns and calls for which there was no budget, since the start.

    Example:
        >>> client.deployment_stats().judge.today.tokens
        0
    """

    tokens: int
    usd: float
    over_budget: int


@dataclass(frozen=True, kw_only=True)
class TurnCoverage(Answer):
    """What became of the turns of one policy's decisions.

    Attributes:
        scored: those with a verdict.
        taught: those whose verdict teaches.
        withheld: those with a verdict that does not, by reason.
        unscored: those without a verdict, by reason.

    Example:
        >>> turn = ("What now?", "Drink tea.", "Lovely, thank you!")
        >>> judged = client.score("ada", ["tea"]).turn(*turn, wait=True)
        >>> client.deployment_stats().judge.policies["linucb-v2"].turns >= 1
        True
    """

    turns: int
    waiting: int
    scored: int
    taught: int
    withheld: Mapping[str, int]
    unscored: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class JudgeCoverage(Answer):
    """What became of turns.

    Example:
        >>> client.deployment_stats().judge.waiting >= 0
        True
    """

    waiting: int
    today: JudgeSpending
    policies: Mapping[str, TurnCoverage]


@dataclass(frozen=True, kw_only=True)
class MemoryScore(Answer):
    """How well a memory foretold the newest rewards.

    Attributes:
        half_life_days: null where a reward's weight does not decay.
        since: rewards from before do not count; null where all do.
        score: log-likelihood of the rewards, each before it was taught, the newest counting most.

    Example:
        >>> [each.scores for each in client.deployment_stats().memory.values()]
        []
    """

    half_life_days: float | None = None
    since: str | None = None
    score: float


@dataclass(frozen=True, kw_only=True)
class PolicyMemory(Answer):
    """Which rewards count for a policy, and whether its users' tastes have drifted.

    Attributes:
        half_life_days: in which a reward loses half of its weight; null for never.
        since: the change from which on rewards count; null where all do.
        changed_at: when that was found; null where nothing ever drifted.
        gain: by how much its score was above that of the memory before.
        compared_at: when memories were last compared.

    Example:
        >>> dict(client.deployment_stats().memory)
        {}
    """

    half_life_days: float | None = None
    since: str | None = None
    changed_at: str | None = None
    gain: float | None = None
    compared_at: str | None = None
    scores: tuple[MemoryScore, ...]


@dataclass(frozen=True, kw_only=True)
class UnreadFeature(Answer):
    """Something that callers send and no schema reads.

    Attributes:
        name: as it was sent; `(other)` for what is no name, and beyond the first hundred.
        count: with how many requests, candidates or rewards it came.
        sentence: what to make of it.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> [each.name for each in client.deployment_stats().features.unread if each.name == "id"]
        []
    """

    where: Literal["request", "context", "candidate", "features", "reward features"]
    name: str
    count: int
    sentence: str


@dataclass(frozen=True, kw_only=True)
class ReadFeature(Answer):
    """A field that a policy's schema reads.

    Attributes:
        share: of the requests, or candidates, that came with it.
        is_constant: it had one value only, the default where it did not come.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> {each.where for each in client.deployment_stats().features.fields} <= {"context", "features"}
        True
    """

    policy: str
    where: Literal["context", "features"]
    name: str
    share: float
    is_constant: bool


@dataclass(frozen=True, kw_only=True)
class PolicyContrast(Answer):
    """How often a policy could not tell the candidates apart.

    Attributes:
        requests: with more than one candidate.
        alike: of these, those in which all candidates read the same.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> all(each.alike <= each.requests for each in client.deployment_stats().features.contrasts)
        True
    """

    policy: str
    requests: int
    alike: int


@dataclass(frozen=True, kw_only=True)
class OpenTokens(Answer):
    """How the values of a policy's open feature met its columns.

    Attributes:
        met: values, however often, of every request.
        unseen: of them, those that had not been met before.
        distinct: different values that are remembered, up to 32,768 a side.
        columns: that they are hashed into.
        colliding: remembered values that share their column with another one of their side.

    Example:
        >>> client.deployment_stats().features.tokens
        ()
    """

    policy: str
    met: int
    unseen: int
    distinct: int
    columns: int
    colliding: int


@dataclass(frozen=True, kw_only=True)
class FeatureStats(Answer):
    """What callers send, and what of it is read, since the start of the process.

    Attributes:
        looked_at: the first 1,000 requests, then each sixty-fourth, which counts for all of them.
        fields: of each policy that decided.
        tokens: of each policy that decided and reads open features.
        warnings: what is off, in sentences.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().features.requests >= 1
        True
    """

    requests: int
    looked_at: int
    unread: tuple[UnreadFeature, ...]
    fields: tuple[ReadFeature, ...]
    contrasts: tuple[PolicyContrast, ...]
    tokens: tuple[OpenTokens, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MetricAverage(Answer):
    """The mean of a metric over the rewards that brought it, and its normal interval of 95 %.

    Attributes:
        rewards: how many brought it.
        low: null where fewer than two brought it, as high.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> sorted(client.deployment_stats().metrics) in ([], ["linucb-v2"])
        True
    """

    rewards: int
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricStanding(Answer):
    """A metric of one policy's decisions.

    Attributes:
        candidates: by the pick; the 50 with the most rewards.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> sorted(client.deployment_stats().metrics) in ([], ["linucb-v2"])
        True
    """

    all: MetricAverage
    candidates: Mapping[str, MetricAverage]


@dataclass(frozen=True, kw_only=True)
class DeploymentStats(Answer):
    """What all policies did for all users.

    Attributes:
        gain: whether what is served earns more than random, or the caller's first.
        experiment: null while none runs.
        holdout: null where nobody is held out.
        shadows: by policy; null where none is in the shadow.
        judge: what became of turns; null where none are taken.
        memory: of each policy with `half_life = "auto"`.
        metrics: what rewards brought, by policy and name.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.deployment_stats().users >= 1
        True
    """

    users: int
    decisions: int
    rewards: int
    policies: Mapping[str, PolicyStats]
    gain: GainReport
    experiment: Experiment | None = None
    holdout: Holdout | None = None
    shadows: Mapping[str, ShadowPolicy] | None = None
    judge: JudgeCoverage | None = None
    loop: LoopHealth
    memory: Mapping[str, PolicyMemory]
    features: FeatureStats
    metrics: Mapping[str, Mapping[str, MetricStanding]]
