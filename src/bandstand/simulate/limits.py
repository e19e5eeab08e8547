"""Limits of simulations that a service plays; the command line plays larger ones."""

from typing import NamedTuple


class NumberLimit(NamedTuple):
    """What a number of a request may be, and what it is where the request leaves it out."""

    least: int
    most: int
    default: int


MAX_USERS = 10_000
"""Of any run: all users of a world are in memory at once."""

LIMITS = {
    "personas": NumberLimit(1, MAX_USERS, 14),
    "days": NumberLimit(1, 3_650, 30),
    "decisions_per_day": NumberLimit(1, 100, 4),
    "candidates": NumberLimit(1, 100, 5),
    "seeds": NumberLimit(1, 1_000, 20),
    "first_seed": NumberLimit(0, 2**31, 0),
}
"""By field of a :class:`bandstand.simulate.plan.Plan`."""

DEFAULT_POLICIES = ("linucb-v1", "egreedy-v1", "linucb-v2")
"""Who plays where a request names nobody."""
