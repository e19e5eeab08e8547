"""Experiment: how the users of a split came out, against the shares that they should have come out in."""

from typing import Any

from bandstand.bandit.chi_square import MIN_EXPECTED, compute_p_value
from bandstand.service.context import ServiceContext, format_time

SIGNIFICANCE_LEVEL = 0.001


async def load_experiment_status(deployment: ServiceContext) -> dict[str, Any] | None:
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
    return {
        "name": experiment.name,
        "since": format_time(begun.ts),
        "users": total,
        "arms": {
            policy: {"share": shares[policy], "users": users.get(policy, 0), "expected": mean}
            for policy, mean in expected.items()
        },
        "chi_square": statistic,
        "p_value": p_value,
        "mismatch": p_value is not None and p_value < SIGNIFICANCE_LEVEL,
    }
