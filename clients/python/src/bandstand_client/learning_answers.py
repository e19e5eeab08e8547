"""The answers of the two calls that a product makes all day."""

from dataclasses import dataclass

from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class RankedCandidate(Answer):
    """One candidate of a ranking.

    Attributes:
        tip_id: its id.
        score: what the policy gave it.
        propensity: the probability with which it would have been picked.

    Example:
        >>> ranking = client.score("ada", ["tea", "coffee"], ranking=True).ranking
        >>> round(sum(each.propensity for each in ranking), 6)
        1.0
    """

    tip_id: str
    score: float
    propensity: float


@dataclass(frozen=True, kw_only=True)
class Rewarded(Answer):
    """What came of a reward.

    Attributes:
        policy: the policy that it belongs to; None where the reward went nowhere.
        reward: the value taken, also from a reaction; None where it went nowhere.
        applied: whether it taught the policy.
        reason: why not: ``reset`` (the user was reset after the decision), ``held``, ``late``, ``not_first`` or
            ``revoked`` (see the service's page on rewards over time), ``fallback`` (what was shown was no pick) or
            ``unlogged`` (the service could not log the decision).
        decision_id: of what.
        aggregate: of rewards over time, what the decision has taught with this one.

    Example:
        >>> client.score("ada", ["tea"]).reward(0.5).reward
        0.5
    """

    policy: str | None = None
    reward: float | None = None
    applied: bool
    reason: str | None = None
    decision_id: str | None = None
    ok: bool = True
    aggregate: float | None = None


@dataclass(frozen=True, kw_only=True)
class TurnTaken(Answer):
    """A turn is kept, and will be judged.

    Attributes:
        judgement_id: under which :meth:`Bandstand.judgement` has it; None where the turn went nowhere.
        policy: whose decision it is about.
        decision_id: which.
        reason: why it went nowhere: ``fallback`` or ``unlogged``.

    Example:
        >>> taken = client.score("ada", ["tea"]).turn("What now?", "Drink tea.", "Lovely, thank you!")
        >>> taken.judgement_id is not None
        True
    """

    judgement_id: str | None = None
    policy: str | None = None
    decision_id: str | None = None
    reason: str | None = None
    ok: bool = True
