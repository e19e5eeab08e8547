"""Experiment: how the users of a split came out, against the shares that they should have come out in."""

from typing import Any

from bandstand.bandit.chi_square import LEAST_EXPECTED, tail
from bandstand.service.context import Deployment, iso

SIGNIFICANT = 0.001


async def standing(deployment: Deployment) -> dict[str, Any] | None:
    """The experiment that runs, and whether its arms have met as many users as they should; ``None`` for none.

    The users that an arm has decided for (each once, however often) are compared with its share of all of them:
    χ² = Σ (n − E)²/E with one degree of freedom less than there are arms. A mismatch is p < 0.001 (Fabijan et al. 2019,
    "Diagnosing sample ratio mismatch in online controlled experiments"): the split, or what is logged of it, is broken,
    and a comparison of the arms says nothing. It is looked at again and again, so of sound splits more than one in a
    thousand will show it some day.
    """
    experiment, begun = deployment.experiment, deployment.begun
    if experiment is None or begun is None:
        return None
    users = await deployment.store.enrolled(begun.seq)
    shares = experiment.shares()
    total = sum(users.get(policy, 0) for policy in shares)
    expected = {policy: share * total for policy, share in shares.items()}
    enough = min(expected.values()) >= LEAST_EXPECTED
    statistic = sum((users.get(policy, 0) - mean) ** 2 / mean for policy, mean in expected.items()) if enough else None
    p_value = None if statistic is None else tail(statistic, len(expected) - 1)
    return {
        "name": experiment.name,
        "since": iso(begun.ts),
        "users": total,
        "arms": {
            policy: {"share": shares[policy], "users": users.get(policy, 0), "expected": mean}
            for policy, mean in expected.items()
        },
        "chi_square": statistic,
        "p_value": p_value,
        "mismatch": p_value is not None and p_value < SIGNIFICANT,
    }
