"""Experiment: how the users of a split came out, against the shares that they should have come out in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bandstand.bandit.chi_square import MIN_EXPECTED, compute_p_value
from bandstand.errors import UnsupportedByEngineError
from bandstand.service.context import ServiceContext, format_time
from bandstand.service.readout import Readout, build_readout
from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.promotions import ExperimentStart
from bandstand.store.tables.splits import BANDIT_ARM, CONTROL_ARM, HoldoutStart

SIGNIFICANCE_LEVEL = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmStatus:
    """One arm of an experiment: its share of the users, how many it met, and how many that should be."""

    share: float
    users: int
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentStatus:
    """An experiment, and whether its arms met as many users as they should.

    Attributes:
        users: of all arms together.
        arms: by policy.
        chi_square: ``None``, like the p-value, while some arm should have met fewer than 5 users.
        mismatch: p < 0.001.
        readout: who wins; the control is the arm of the largest share.
    """

    name: str
    since: str
    users: int
    arms: Mapping[str, ArmStatus]
    chi_square: float | None
    p_value: float | None
    mismatch: bool
    readout: Readout


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutStatus:
    """A holdout: the users who are served without the bandit, compared with the others.

    Attributes:
        share: of the users, as configured.
        control: what they get.
        users: of both arms, with a decision.
        p_value: of the sample ratio; ``None`` while some arm should have met fewer than 5 users.
        mismatch: p < 0.001.
        readout: of the arms ``bandit`` and ``control``.
    """

    share: float
    control: Literal["random", "first"]
    since: str
    users: int
    p_value: float | None
    mismatch: bool
    readout: Readout


async def load_experiment_status(deployment: ServiceContext) -> ExperimentStatus | None:
    """The experiment that runs, and whether its arms have met as many users as they should; ``None`` for none.

    The users that an arm has decided for (each once, however often) are compared with its share of all of them:
    χ² = Σ (n − E)²/E with one degree of freedom less than there are arms. A mismatch is p < 0.001 (Fabijan et al. 2019,
    "Diagnosing sample ratio mismatch in online controlled experiments"): the split, or what is logged of it, is broken,
    and a comparison of the arms says nothing. The test is repeated at every look, so more than one sound split in a
    thousand will show a mismatch some day.
    """
    experiment, begun = deployment.experiment, deployment.running_experiment
    if experiment is None or begun is None:
        return None
    users = await deployment.store.count_enrolled(begun.seq)
    shares = experiment.compute_shares()
    total = sum(users.get(policy, 0) for policy in shares)
    expected = {policy: share * total for policy, share in shares.items()}
    statistic, p_value = _compute_ratio_p_value(users, shares)
    return ExperimentStatus(
        name=experiment.name,
        since=format_time(begun.ts),
        users=total,
        arms={
            policy: ArmStatus(share=shares[policy], users=users.get(policy, 0), expected=mean)
            for policy, mean in expected.items()
        },
        chi_square=statistic,
        p_value=p_value,
        mismatch=p_value is not None and p_value < SIGNIFICANCE_LEVEL,
        readout=await _load_readout(deployment, begun, list(shares), experiment.leading_policy),
    )


async def _load_readout(
    deployment: ServiceContext, begun: ExperimentStart | HoldoutStart, arms: Sequence[str], control: str
) -> Readout:
    """What the arms of a split earned; if the engine keeps no sums by arm, the sentence says so."""
    history, refusal = ArmHistory(now={}), None
    try:
        history = await deployment.store.load_arms(begun.seq)
    except UnsupportedByEngineError as error:
        refusal = f"Nothing can be told: {error.detail}."
    readout = build_readout(history, arms, control, since=begun.ts, now=deployment.clock())
    return readout if refusal is None else replace(readout, sentence=refusal)


async def load_holdout_status(deployment: ServiceContext) -> HoldoutStatus | None:
    """The holdout that runs, and how its users fare; ``None`` for none."""
    holdout, begun = deployment.holdout, deployment.running_holdout
    if holdout is None or begun is None:
        return None
    readout = await _load_readout(deployment, begun, (BANDIT_ARM, CONTROL_ARM), CONTROL_ARM)
    p_value = _compute_ratio_p_value(
        {arm: each.users for arm, each in readout.arms.items()},
        {BANDIT_ARM: 1.0 - holdout.share, CONTROL_ARM: holdout.share},
    )[1]
    return HoldoutStatus(
        share=holdout.share,
        control=holdout.control,
        since=format_time(begun.ts),
        users=sum(each.users for each in readout.arms.values()),
        p_value=p_value,
        mismatch=p_value is not None and p_value < SIGNIFICANCE_LEVEL,
        readout=readout,
    )


def _compute_ratio_p_value(users: Mapping[str, int], shares: Mapping[str, float]) -> tuple[float | None, float | None]:
    """χ² of users by arm against their shares, and its p-value; ``None`` while some arm should have met too few."""
    total = sum(users.get(arm, 0) for arm in shares)
    expected = {arm: share * total for arm, share in shares.items()}
    if min(expected.values()) < MIN_EXPECTED:
        return None, None
    statistic = sum((users.get(arm, 0) - mean) ** 2 / mean for arm, mean in expected.items())
    return statistic, compute_p_value(statistic, len(expected) - 1)
