"""Experiment: how the users of a split came out, against the shares that they should have come out in."""

from collections.abc import Mapping
from dataclasses import dataclass

from bandstand.bandit.chi_square import MIN_EXPECTED, compute_p_value
from bandstand.service.context import ServiceContext, format_time

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
    """

    name: str
    since: str
    users: int
    arms: Mapping[str, ArmStatus]
    chi_square: float | None
    p_value: float | None
    mismatch: bool


async def load_experiment_status(deployment: ServiceContext) -> ExperimentStatus | None:
    """The experiment that runs, and whether its arms have met as many users as they should; ``None`` for none.

    The users that an arm has decided for (each once, however often) are compared with its share of all of them:
    χ² = Σ (n − E)²/E with one degree of freedom less than there are arms. A mismatch is p < 0.001 (Fabijan et al. 2019,
    "Diagnosing sample ratio mismatch in online controlled experiments"): the split, or what is logged of it, is broken,
    and a comparison of the arms says nothing. It is looked at again and again, so of sound splits more than one in a
    thousand will show it some day.
    """
    experiment, begun = deployment.experiment, deployment.running_experiment
    if experiment is None or begun is None:
        return None
    users = await deployment.store.count_enrolled(begun.seq)
    shares = experiment.compute_shares()
    total = sum(users.get(policy, 0) for policy in shares)
    expected = {policy: share * total for policy, share in shares.items()}
    enough = min(expected.values()) >= MIN_EXPECTED
    statistic = sum((users.get(policy, 0) - mean) ** 2 / mean for policy, mean in expected.items()) if enough else None
    p_value = None if statistic is None else compute_p_value(statistic, len(expected) - 1)
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
    )
