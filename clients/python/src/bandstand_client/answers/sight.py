"""What the service knows of users, decisions and itself.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class UserStats(Answer):
    """What one policy knows of one user.

    Attributes:
        last_updated: ISO 8601, UTC; of the newest decision or reward.
        feature_labels: names of the numbers in theta.

    Example:
        >>> client.score("ada", ["tea"]).reward(0.5).applied
        True
        >>> client.stats("ada").cumulative_reward
        0.5
    """

    user_id: str
    pulls: int
    reward_count: int
    cumulative_reward: float
    estimated_mean_reward: float
    theta: tuple[float, ...]
    last_updated: str | None = None
    policy: str
    exploration_rate: float
    feature_labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LoggedDecision(Answer):
    """One decision in a user's history.

    Attributes:
        features: the raw values the pick was made on, defaults filled in.
        day_of_week: null where the policy does not look at it.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.history("ada").history[0].decision_id == decision.id
        True
    """

    ts: str
    features: Mapping[str, Any]
    score: float
    tip_id: str
    decision_id: str
    policy: str
    exploring: bool
    propensity: float
    day_of_week: int | None = None


@dataclass(frozen=True, kw_only=True)
class History(Answer):
    """A user's newest decisions, oldest first.

    Attributes:
        content_withheld: the features are left out: this key may not see them.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> len(client.history("ada").history)
        1
    """

    user_id: str
    history: tuple[LoggedDecision, ...]
    content_withheld: bool


@dataclass(frozen=True, kw_only=True)
class FeatureContribution(Answer):
    """What one feature adds to a candidate's mean.

    Attributes:
        name: A column's label; of open features a token, or two, as path=value.
        value: its part of x.
        weight: the weight of its column now.
        contribution: their product.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> [each.explanation for each in decision.get_receipt().candidates]
        [None, None]
    """

    name: str
    value: float
    weight: float
    contribution: float


@dataclass(frozen=True, kw_only=True)
class CandidateExplanation(Answer):
    """What a candidate's mean is made of now.

    Attributes:
        mean: the sum of all contributions.
        contributions: the 50 largest in size, the largest first.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.receipt(decision.id).candidates[0].explanation is None
        True
    """

    mean: float
    contributions: tuple[FeatureContribution, ...]


@dataclass(frozen=True, kw_only=True)
class ConsideredCandidate(Answer):
    """One candidate, as the user saw it and as the policy did.

    Attributes:
        content: what was shown; null where the request left it out, as the next two.
        raw_features: as they were sent.
        features: x; null once its schema is no longer configured.
        excluded: the request did not let it be picked.
        explanation: with explain=true, while its policy is configured.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> [each.tip_id for each in decision.get_receipt().candidates]
        ['tea', 'coffee']
    """

    tip_id: str
    content: str | None = None
    source: str | None = None
    source_id: str | None = None
    raw_features: Mapping[str, Any]
    features: tuple[float, ...] | None = None
    mean: float
    width: float
    score: float
    probability: float
    excluded: bool
    explanation: CandidateExplanation | None = None


@dataclass(frozen=True, kw_only=True)
class DecisionTurn(Answer):
    """The turn that was taken as the decision's reward.

    Attributes:
        label: of the verdict that stands.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.get_receipt().judgement is None
        True
    """

    judgement_id: str
    status: Literal["waiting", "scored", "unscored"]
    label: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class TipSource(Answer):
    """Where the pick was written.

    Attributes:
        generation_id: null, as the model, once retention has taken the generation.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.get_receipt().generation is None
        True
    """

    generation_id: str | None = None
    prompt_version: str
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedReward(Answer):
    """The reward that stands for a decision.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.reward(0.5).applied
        True
        >>> decision.get_receipt().reward.reward
        0.5
    """

    reward: float
    applied: bool
    reason: str | None = None
    source: str
    ts: str
    client: str


@dataclass(frozen=True, kw_only=True)
class ShadowPick(Answer):
    """What a policy in the shadow would have done with the decision.

    Attributes:
        tip_id: what the decision's own seed draws from its distribution.
        agrees: whether that is what was served.
        propensity: of its own pick.
        weight: its probability of the served pick, over the one that pick was drawn with.
        probabilities: of every candidate, in their order.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.get_receipt().shadows
        ()
    """

    policy: str
    policy_hash: str
    tip_id: str
    agrees: bool
    exploring: bool
    propensity: float
    weight: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Receipt(Answer):
    """Everything a decision was made from: enough to compute the same pick again.

    Attributes:
        client: name of the API key that asked.
        schema: name of the feature schema.
        seed: the uniform draw u in [0, 1); below the floor δ it explored.
        floor: δ, the share of uniform picks.
        held: it was held back, and not activated: its rewards are kept, and teach nothing.
        window_ends: until when its rewards count; null for ever.
        content_withheld: contents, features, context and explanations are left out: this key may not see them.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> decision.get_receipt().propensity == decision.propensity
        True
    """

    decision_id: str
    user_id: str
    ts: str
    client: str
    policy: str
    policy_hash: str
    schema: str
    schema_hash: str
    tip_id: str
    score: float
    propensity: float
    exploring: bool
    seed: float
    floor: float
    context: Mapping[str, Any]
    feature_labels: tuple[str, ...] | None = None
    candidates: tuple[ConsideredCandidate, ...]
    reward: LoggedReward | None = None
    judgement: DecisionTurn | None = None
    generation: TipSource | None = None
    shadows: tuple[ShadowPick, ...]
    held: bool
    window_ends: str | None = None
    content_withheld: bool


@dataclass(frozen=True, kw_only=True)
class Activation(Answer):
    """The result of an activation.

    Attributes:
        activated: whether the decision counts as shown.
        applied: whether a reward that came before has taught its policy now.
        reward: what that came to.
        reason: `window_ended` where it came too late; `reset` where the user was reset.

    Example:
        >>> decision = client.score("ada", ["tea", "coffee"])
        >>> client.activate(decision.id).activated
        True
    """

    ok: bool
    decision_id: str
    activated: bool
    applied: bool
    reward: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class HealthWarning(Answer):
    """Something that needs a person's attention.

    Attributes:
        code: what kind, for machines.
        message: what is wrong.
        since: the UTC day from which on; null where that is not known.
        advice: what helps.

    Example:
        >>> client.health().warnings
        ()
    """

    code: str
    message: str
    since: str | None = None
    advice: str


@dataclass(frozen=True, kw_only=True)
class SharedLedgerHealth(Answer):
    """A process's hold on a ledger that it shares.

    Attributes:
        slot: the process numbers its events by it.
        leader: it does what one process does for all.
        processes: how many share the ledger.
        configurations: how many different settings these have.
        format: of the ledger.
        last_round_trip_ms: of the last thing that was written.
        clock_skew_ms: by how much this clock is ahead of the database's.
        synchronous_standbys: connected standbys that commits wait for; null where the database's role may not see them.

    Example:
        >>> client.health().ledger is None
        True
    """

    store: str
    slot: int
    leader: bool
    processes: int
    configurations: int
    format: int
    last_round_trip_ms: float | None = None
    clock_skew_ms: float
    synchronous_standbys: int | None = None


@dataclass(frozen=True, kw_only=True)
class Health(Answer):
    """The process lives.

    Attributes:
        quarantined: users' documents set aside since the start.
        last_error: of the store.
        ledger: the hold on a shared ledger; null in a state directory.
        warnings: what needs a person's attention, at most a minute old.

    Example:
        >>> client.health().active_policy
        'linucb-v2'
    """

    ok: bool
    version: str
    active_policy: str
    durability: str
    quarantined: int
    last_error: str | None = None
    ledger: SharedLedgerHealth | None = None
    warnings: tuple[HealthWarning, ...]


@dataclass(frozen=True, kw_only=True)
class Ready(Answer):
    """The store takes events.

    Example:
        >>> client.ready().ready
        True
    """

    ready: bool
